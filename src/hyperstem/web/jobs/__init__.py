"""The queue: the list of jobs, what runs them, their folders on disk, and how far they are."""
