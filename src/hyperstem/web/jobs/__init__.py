"""The queue: the jobs, their folders on disk, and the processes that separate them."""
