"""Catalogues of songs on many machines: `hyperstem.separation` on Ray, with songs and stems at paths or URLs.

`objects` reaches URLs, `catalogue` lists songs one after the other, `worker` separates one, `fleet` keeps the workers
(the only module that knows Ray), `schedule` decides what comes next, `records` keeps what became of every song, and
`run` joins them.
"""
