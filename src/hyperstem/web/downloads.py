"""Requests for downloads: what they may ask for, and the order that each one becomes."""

from typing import Annotated, Literal

from fastapi import HTTPException
from pydantic import BaseModel, Field

from hyperstem.audio import named_format
from hyperstem.errors import AudioError
from hyperstem.web.api_sound import title_of
from hyperstem.web.jobs.store import Job
from hyperstem.web.sound.orders import SONG, LaneOrder, Order, Part

MAX_LANES = 64

FormatName = Literal["wav", "flac", "mp3", "ogg", "opus", "m4a", "stem.mp4"]
Subtype = Literal["pcm16", "pcm24", "float"]
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class MixLane(BaseModel):
    """A stem in a mix."""

    stem: str = Field(max_length=100)
    volume: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    pan: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] = 0.0


class MixOrder(BaseModel):
    """What to download: one of `stem`, `without` and `lanes`, or none of them for all stems."""

    format: FormatName = Field("wav", description="stem.mp4 contains the song and all stems in one file.")
    subtype: Subtype | None = Field(None, description="Sample format of wav and flac; default pcm16.")
    stem: str | None = Field(None, max_length=100, description="Only this stem.")
    without: str | None = Field(None, max_length=100, description="The song without this stem.")
    lanes: list[MixLane] | None = Field(None, min_length=1, max_length=MAX_LANES, description="These stems, mixed.")
    start_s: Seconds = Field(0.0, description="Start of the section, such as a loop.")
    end_s: Seconds | None = Field(None, description="End of the section; default: the song's end.")


class MixView(BaseModel):
    """A download and its progress."""

    id: str = Field(description="The same for the same order.")
    state: Literal["waiting", "making", "done", "failed"]
    progress: float = Field(ge=0, le=1)
    error: str | None = Field(description="Why it failed.")
    name: str = Field(description="File name.")
    url: str = Field(description="Where to fetch it once it is done, relative to the studio's address.")


class Download:
    """A valid request: the order, and which of its files is sent (`pick`; None for all).

    Raises:
        HTTPException: 404 no such stem, 409 the format does not support this song, 422 contradictory fields.
    """

    def __init__(self, job: Job, wanted: MixOrder) -> None:
        _check(job, wanted)
        format_ = named_format(wanted.format)
        subtype = (wanted.subtype or "pcm16") if format_.lossless else ""
        try:
            format_.check(format_.rate_for(job.rate_hz or 1), job.channels or 1, subtype)
        except AudioError as error:
            raise HTTPException(409, str(error)) from None
        separated = wanted.start_s == 0 and wanted.end_s is None and wanted.lanes is None
        parts, self.pick = _parts(wanted, job.stems, separated)
        self.order = Order(wanted.format, subtype, parts, separated, wanted.start_s, wanted.end_s)
        self.job = job

    @property
    def id(self) -> str:
        """The order's key, with the number of the file if only one is sent."""
        return self.order.key if self.pick is None else f"{self.order.key}-{self.pick}"

    @property
    def name(self) -> str:
        """File name of the download."""
        return download_name(self.job, self.order, self.pick)

    @property
    def exists(self) -> bool:
        """Whether the stems' files can be sent as they are."""
        stems = self.order.separated and all(part.is_stem for part in self.order.parts)
        return stems and (self.order.format, self.order.subtype) == ("wav", "pcm16")


def _check(job: Job, wanted: MixOrder) -> None:
    format_ = named_format(wanted.format)
    given = [name for name in ("stem", "without", "lanes") if getattr(wanted, name) is not None]
    if len(given) > 1 or (given and format_.multitrack):
        raise HTTPException(422, f"{' and '.join(given)}: give at most one of them, and none with stem.mp4")
    if wanted.subtype and wanted.subtype not in format_.subtypes:
        allowed = ", ".join(format_.subtypes) or "none"
        raise HTTPException(422, f"subtype {wanted.subtype!r} with {wanted.format}; allowed: {allowed}")
    if wanted.end_s is not None and wanted.end_s <= wanted.start_s:
        raise HTTPException(422, f"end_s is {wanted.end_s}; it must be above start_s, {wanted.start_s}")
    if wanted.start_s >= (job.duration_s or 0) > 0:
        raise HTTPException(422, f"start_s is {wanted.start_s}; this song ends at {job.duration_s:.2f} s")
    for stem in [wanted.stem, wanted.without, *(lane.stem for lane in wanted.lanes or ())]:
        if stem is not None and stem not in job.stems:
            raise HTTPException(404, f"there is no stem {stem[:80]!r}; this song has {', '.join(job.stems)}")
    if wanted.without and len(job.stems) < 2:
        raise HTTPException(404, "this song has only one stem")


def _parts(wanted: MixOrder, stems: list[str], separated: bool) -> tuple[tuple[Part, ...], int | None]:
    """The files to render, and the number of the one to send."""
    each = {stem: Part(stem, (LaneOrder(stem),)) for stem in stems}
    if wanted.lanes is not None:
        return (Part("mix", tuple(LaneOrder(lane.stem, lane.volume, lane.pan) for lane in wanted.lanes)),), 0
    if wanted.without is not None:
        lanes = tuple(LaneOrder(stem) for stem in stems if stem != wanted.without)
        return (Part(f"no_{wanted.without}", lanes),), 0
    if wanted.stem is not None:
        return (tuple(each.values()), stems.index(wanted.stem)) if separated else ((each[wanted.stem],), 0)
    return tuple(each.values()), 0 if wanted.format == "stem.mp4" else None


def file_name(order: Order, pick: int) -> str:
    """Name of a part's file in the studio's folder."""
    return f"{SONG if named_format(order.format).multitrack else order.parts[pick].name}.{order.format}"


def download_name(job: Job, order: Order, pick: int | None) -> str:
    """Name of a download's file in the user's folder."""
    one_file = named_format(order.format).multitrack
    what = "stems" if one_file or pick is None else order.parts[pick].name
    if pick is not None and not order.parts[pick].is_stem:
        what = "karaoke" if what == "no_vocals" else what.replace("no_", "without ", 1)
    section = " (loop)" if order.start_s or order.end_s is not None else ""
    return f"{title_of(job)} - {what}{section}.{order.format if one_file or pick is not None else 'zip'}"
