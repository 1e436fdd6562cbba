"""Catalogues of songs on many machines: `hyperstem.separation` on Ray, with songs and stems at paths or URLs.

`objects` accesses URLs, `catalogue` lists songs, `register` names them, `worker` separates one, `fleet` manages the
workers (the only module that uses Ray), `schedule` decides which song is next, `records` stores the result of every
song, and `run` joins them.
"""
