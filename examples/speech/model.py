"""Stands in for a speech recognizer such as faster-whisper: it reads telephone keys from sound.

It really listens: a key is the pair of tones (DTMF) that a fast Fourier transform finds in a part
of 100 ms. Like faster-whisper, it gives segments one by one, in a generator, and facts beside them.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

VERSION = "telephone keys 1"
RATE = 8000  # samples a second
STEP = 800  # samples of a key, and of the silence behind it
SECONDS_A_KEY = 0.01  # how long the stand-in waits for a key, as for an accelerator
LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477)
KEYS = {key: (LOW[at // 3], HIGH[at % 3]) for at, key in enumerate("123456789*0#")}


@dataclass
class Segment:
    start: float
    end: float
    text: str


class Recognizer:
    def transcribe(self, samples: np.ndarray) -> tuple[Iterator[Segment], dict]:
        """Return the segments, which are found while they are read, and facts of the sound."""
        return self._segments(samples), {"seconds": len(samples) / RATE}

    def _segments(self, samples: np.ndarray) -> Iterator[Segment]:
        for start in range(0, len(samples) - STEP + 1, 2 * STEP):
            time.sleep(SECONDS_A_KEY)
            spectrum = np.abs(np.fft.rfft(samples[start : start + STEP].astype(np.float32)))
            power = {hertz: spectrum[round(hertz * STEP / RATE)] for hertz in (*LOW, *HIGH)}
            tones = max(LOW, key=power.__getitem__), max(HIGH, key=power.__getitem__)
            (key,) = (key for key, pair in KEYS.items() if pair == tones)
            yield Segment(start / RATE, (start + STEP) / RATE, key)
