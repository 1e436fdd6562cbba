"""One song's process, ``python -m hyperstem.web.worker``, and the limits that it runs under."""
