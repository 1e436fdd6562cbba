"""What may be asked for as a download, and the order that it becomes."""

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
    """What to make: one of `stem`, `without` and `lanes`, or none of them for all stems."""

    format: FormatName = Field("wav", description="stem.mp4 holds the song and all stems in one file.")
    subtype: Subtype | None = Field(None, description="Samples of wav and flac; pcm16 if nothing is given.")
    stem: str | None = Field(None, max_length=100, description="This stem alone.")
    without: str | None = Field(None, max_length=100, description="The song without this stem.")
    lanes: list[MixLane] | None = Field(None, min_length=1, max_length=MAX_LANES, description="These stems, mixed.")
    start_s: Seconds = Field(0.0, description="Where the stretch begins, such as a loop.")
    end_s: Seconds | None = Field(None, description="Where it ends; the song's end if nothing is given.")


class MixView(BaseModel):
    """A download and how far it is."""

    id: str = Field(description="The same for the same order.")
    state: Literal["waiting", "making", "done", "failed"]
    progress: float = Field(ge=0, le=1)
    error: str | None = Field(description="Why it failed, in words.")
    name: str = Field(description="What the file is called.")
    url: str = Field(description="Where to fetch it once it is done, relative to the studio's address.")


class Wish:
    """An order, and which of its parts is to be sent: None for all of them.

    Raises:
        HTTPException: 404 no such stem, 409 the format cannot hold this song, 422 it makes no sense.
    """

    def __init__(self, job: Job, wanted: MixOrder) -> None:
        _check(job, wanted)
        subtype = (wanted.subtype or "pcm16") if named_format(wanted.format).lossless else ""
        try:
            kind = named_format(wanted.format)
            kind.check(kind.rate_for(job.rate_hz or 1), job.channels or 1, subtype)
        except AudioError as error:
            raise HTTPException(409, str(error)) from None
        whole = wanted.start_s == 0 and wanted.end_s is None
        separated = whole and wanted.lanes is None
        parts, self.pick = _parts(wanted, job.stems, separated)
        self.order = Order(wanted.format, subtype, parts, separated, wanted.start_s, wanted.end_s)
        self.job = job

    @property
    def id(self) -> str:
        """The order's key, and the part's number if it is one."""
        return self.order.key if self.pick is None else f"{self.order.key}-{self.pick}"

    @property
    def name(self) -> str:
        """What the download is called."""
        return download_name(self.job, self.order, self.pick)

    @property
    def is_there(self) -> bool:
        """Whether the song's own stems are what is wanted."""
        stems = self.order.separated and all(part.is_stem for part in self.order.parts)
        return stems and (self.order.format, self.order.subtype) == ("wav", "pcm16")


def _check(job: Job, wanted: MixOrder) -> None:
    kind = named_format(wanted.format)
    given = [name for name in ("stem", "without", "lanes") if getattr(wanted, name) is not None]
    if len(given) > 1 or (given and kind.multitrack):
        raise HTTPException(422, f"{' and '.join(given)}: give one of them at most, and none with stem.mp4")
    if wanted.subtype and wanted.subtype not in kind.subtypes:
        allowed = ", ".join(kind.subtypes) or "none"
        raise HTTPException(422, f"subtype {wanted.subtype!r} with {wanted.format}; allowed: {allowed}")
    if wanted.end_s is not None and wanted.end_s <= wanted.start_s:
        raise HTTPException(422, f"end_s is {wanted.end_s}; it must be above start_s, {wanted.start_s}")
    if wanted.start_s >= (job.duration_s or 0) > 0:
        raise HTTPException(422, f"start_s is {wanted.start_s}; this song ends at {job.duration_s:.2f} s")
    for stem in [wanted.stem, wanted.without, *(lane.stem for lane in wanted.lanes or ())]:
        if stem is not None and stem not in job.stems:
            raise HTTPException(404, f"there is no stem {stem[:80]!r}; this song has {', '.join(job.stems)}")
    if wanted.without and len(job.stems) < 2:
        raise HTTPException(404, "this song has one stem only")


def _parts(wanted: MixOrder, stems: list[str], separated: bool) -> tuple[tuple[Part, ...], int | None]:
    """The files to make and the number of the one that is wanted."""
    alone = {stem: Part(stem, (LaneOrder(stem),)) for stem in stems}
    if wanted.lanes is not None:
        return (Part("mix", tuple(LaneOrder(lane.stem, lane.volume, lane.pan) for lane in wanted.lanes)),), 0
    if wanted.without is not None:
        lanes = tuple(LaneOrder(stem) for stem in stems if stem != wanted.without)
        return (Part(f"no_{wanted.without}", lanes),), 0
    if wanted.stem is not None:
        return (tuple(alone.values()), stems.index(wanted.stem)) if separated else ((alone[wanted.stem],), 0)
    return tuple(alone.values()), 0 if wanted.format == "stem.mp4" else None


def file_name(order: Order, pick: int) -> str:
    """What a part's file is called where it is made."""
    return f"{SONG if named_format(order.format).multitrack else order.parts[pick].name}.{order.format}"


def download_name(job: Job, order: Order, pick: int | None) -> str:
    """What a download is called where it is saved."""
    one = named_format(order.format).multitrack
    what = "stems" if one or pick is None else order.parts[pick].name
    if pick is not None and not order.parts[pick].is_stem:
        what = "karaoke" if what == "no_vocals" else what.replace("no_", "without ", 1)
    stretch = " (loop)" if order.start_s or order.end_s is not None else ""
    return f"{title_of(job)} - {what}{stretch}.{order.format if one or pick is not None else 'zip'}"
