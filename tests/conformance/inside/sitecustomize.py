"""Python imports this at its start, in each process of LitServe's tests that has its folder."""

import os

if os.environ.get("LITCACHE_CONFORMANCE"):
    import cached_litserve

    cached_litserve.install(os.environ["LITCACHE_CONFORMANCE"])
