"""The demo: `python -m examples.demo`, and with a page `python -m examples.demo.live`."""
