"""Rows of numbers: scores, forecasts, recommendations."""

import datetime
import time

import litserve as ls
import numpy as np
import pandas as pd
import pydantic

from census.models import Scorer
from census.shape import service, zipf

KIND = "tabular"
NAMES = ("age", "income", "tenure", "visits")


def row(at, rng):
    values = np.random.default_rng(at).normal(size=4).round(3).tolist()
    return dict(zip(NAMES, values, strict=True))


rows = zipf(row)


class Score(ls.LitAPI):
    def setup(self, device):
        self.model = Scorer()

    def encode_response(self, output):
        return {"score": float(output[1])}


@service(KIND, "dicts of features in a batch", "cache", rows, max_batch_size=8)
class ScoreDicts(Score):
    def decode_request(self, request):
        return request

    def predict(self, items):
        return self.model.predict_proba(np.array([[item[n] for n in NAMES] for item in items]))


@service(KIND, "a DataFrame of one row", "cache", rows)
class ScoreFrame(Score):
    def decode_request(self, request):
        return pd.DataFrame([request])

    def predict(self, frame):
        return self.model.predict_proba(frame[list(NAMES)].to_numpy())[0]


@service(KIND, "DataFrames, concatenated by `batch`", "cache", rows, max_batch_size=4)
class ScoreFrames(Score):
    def decode_request(self, request):
        return pd.DataFrame([request])

    def batch(self, inputs):
        return pd.concat(inputs, ignore_index=True)

    def predict(self, frame):
        return self.model.predict_proba(frame[list(NAMES)].to_numpy())

    def unbatch(self, output):
        return list(output)


@service(
    KIND,
    "a DataFrame as output",
    "option",
    rows,
    option={"result": "response"},
    option_text='result="response"',
)
class ScoreFrameOut(Score):
    def decode_request(self, request):
        return pd.DataFrame([request])

    def predict(self, frame):
        chances = self.model.predict_proba(frame[list(NAMES)].to_numpy())
        return pd.DataFrame(chances, columns=["no", "yes"])

    def encode_response(self, frame):
        return frame.to_dict(orient="records")


def with_zeros(at, rng):
    values = [row(at, rng)[name] for name in NAMES]
    return {"values": [-0.0, *values[1:]] if at % 3 else [0.0, *values[1:]]}


@service(
    KIND, "rows of numpy in a batch, `-0.0` among them", "cache", zipf(with_zeros), max_batch_size=8
)
class ScoreRows(Score):
    def decode_request(self, request):
        return np.array(request["values"])

    def predict(self, rows):
        return np.concatenate([self.model.predict_proba(rows), rows[:, :1]], axis=1)

    def encode_response(self, output):
        return {"score": float(output[1]), "first": float(output[2])}


class Customer(pydantic.BaseModel):
    age: float
    income: float
    tenure: float = 1.0
    visits: float = 0.0


@service(KIND, "a pydantic model as item", "cache", rows)
class ScoreModel(Score):
    def decode_request(self, request):
        return Customer(**request)

    def predict(self, customer):
        return self.model.predict_proba(np.array([[getattr(customer, n) for n in NAMES]]))[0]


@service(
    KIND,
    "missing values: NaN in, NaN out",
    "cache",
    zipf(lambda at, rng: {**row(at, rng), **({"age": None} if at % 2 else {})}),
)
class ScoreMissing(Score):
    def decode_request(self, request):
        return np.array([request[name] for name in NAMES], float)

    def predict(self, values):
        return self.model.predict_proba(values[None])[0]


@service(KIND, "several models and their votes, a dict", "cache", rows)
class ScoreVotes(Score):
    def setup(self, device):
        self.models = {name: Scorer(seed=at) for at, name in enumerate(("tree", "linear", "net"))}

    def decode_request(self, request):
        return [request[name] for name in NAMES]

    def predict(self, values):
        given = np.array([values])
        return {name: model.predict_proba(given)[0] for name, model in self.models.items()}

    def encode_response(self, votes):
        return {name: float(chances[1]) for name, chances in votes.items()}


@service(KIND, "scaled by the batch's mean: neighbours count", "never", rows, max_batch_size=4)
class ScoreScaled(Score):
    def decode_request(self, request):
        return np.array([request[name] for name in NAMES])

    def predict(self, rows):
        return self.model.predict_proba(rows - rows.mean(0))


@service(KIND, "a mean of all requests so far, kept on `self`", "never", rows)
class ScoreOnline(Score):
    def setup(self, device):
        self.model = Scorer()
        self.mean, self.seen = np.zeros(4), 0

    def decode_request(self, request):
        return np.array([request[name] for name in NAMES])

    def predict(self, values):
        self.seen += 1
        self.mean = self.mean + (values - self.mean) / self.seen
        return self.model.predict_proba((values - self.mean)[None])[0]


FORECASTS = "time series"


def series(at, rng):
    values = np.random.default_rng(at).normal(size=16).round(3).tolist()
    return {"values": values, "steps": 3 + at % 2}


@service(FORECASTS, "the past and the steps in the item", "cache", zipf(series))
class Forecast(ls.LitAPI):
    def setup(self, device):
        self.weight = 0.7

    def decode_request(self, request):
        return np.array(request["values"]), request["steps"]

    def predict(self, item):
        values, steps = item
        return values[-1] * self.weight ** np.arange(1, steps + 1)

    def encode_response(self, forecast):
        return {"forecast": forecast.tolist()}


@service(FORECASTS, "steps counted from now", "never", zipf(series), fresh=True)
class ForecastFromNow(Forecast):
    def predict(self, item):
        values, steps = item
        now = datetime.datetime.now(datetime.timezone.utc).timestamp()
        return np.sin(now * 1000 + np.arange(steps)) * values[-1]


@service(FORECASTS, "the time of the forecast in the output", "never", zipf(series), unique=("at",))
class ForecastStamped(Forecast):
    def predict(self, item):
        values, steps = item
        return {"at": time.time_ns(), "forecast": (values[-1] * np.ones(steps)).tolist()}

    def encode_response(self, output):
        return output


@service("anomalies", "structured rows as item", "cache", zipf(series))
class Anomalies(ls.LitAPI):
    def setup(self, device):
        self.kind = np.dtype([("at", "i4"), ("value", "f8")])

    def decode_request(self, request):
        values = request["values"]
        return np.array(list(zip(range(len(values)), values, strict=True)), self.kind)

    def predict(self, rows):
        return rows["at"][np.abs(rows["value"]) > 1]

    def encode_response(self, found):
        return {"anomalies": found.tolist()}
