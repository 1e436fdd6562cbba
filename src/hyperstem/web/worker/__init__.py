"""The process of one song, ``python -m hyperstem.web.worker``, and its limits."""
