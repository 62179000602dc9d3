"""A LitServe server for the tests of CacheMiddleware, with it (CACHE=1) or without."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import litserve as ls
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from pydantic import BaseModel

from litcache import CacheMiddleware, SharedStore

TOKENS = Path(os.environ["TOKENS"])


class EchoAPI(ls.LitAPI):
    calls = 0

    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["x"]

    def predict(self, x):
        if isinstance(x, str) and x.startswith("raise"):
            raise HTTPException(int(x.removeprefix("raise")), "as asked")
        return x

    def encode_response(self, output):
        return {"echo": output}


def refuse_unless(allowed):
    if not allowed:
        raise HTTPException(403, "refused")


class HeaderAPI(EchoAPI):
    def authorize(self, request: Request):
        refuse_unless(request.headers.get("x-anything") == "good")


class CookieAPI(EchoAPI):
    def authorize(self, request: Request):
        refuse_unless(request.cookies.get("session") == "good")


class HostAPI(EchoAPI):
    async def authorize(self, request: Request):
        refuse_unless(request.url.hostname == "good.example")


class ClientAPI(EchoAPI):
    def authorize(self, request: Request):
        refuse_unless(request.client.host == "127.0.0.1")


class BearerAPI(EchoAPI):
    def authorize(self, auth=Depends(HTTPBearer())):  # noqa: B008 - as LitServe's docs have it
        refuse_unless(auth.credentials in TOKENS.read_text().split())


class OAuthAPI(EchoAPI):
    def authorize(self, token: str = Depends(OAuth2PasswordBearer(tokenUrl="token"))):
        refuse_unless(token in TOKENS.read_text().split())


class TenantAPI(EchoAPI):
    def authorize(self, tenant: str, request: Request):
        refuse_unless(tenant != "secret" or request.headers.get("x-anything") == "good")


class PersonalAPI(EchoAPI):
    async def authorize(self, request: Request):
        if user := request.headers.get("x-user"):
            (await request.json())["x"] = f"for {user}"


class Typed(BaseModel):
    x: int


class TypedAPI(EchoAPI):
    def decode_request(self, request: Typed):
        return request.x


class StreamAPI(ls.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["x"]

    def predict(self, x):
        yield from (str(x), "b", "c")

    def encode_response(self, outputs):
        yield from outputs


class DeadlyAPI(EchoAPI):
    def predict(self, x):
        with suppress(FileNotFoundError):
            Path(x).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return x


class LongAPI(EchoAPI):
    def predict(self, x):
        return [x] * 2_000


def main():
    apis = [
        EchoAPI(api_path="/key"),
        HeaderAPI(api_path="/header"),
        CookieAPI(api_path="/cookie"),
        HostAPI(api_path="/host"),
        ClientAPI(api_path="/client"),
        BearerAPI(api_path="/bearer"),
        OAuthAPI(api_path="/oauth"),
        TenantAPI(api_path="/p/{tenant}"),
        PersonalAPI(api_path="/personal"),
        TypedAPI(api_path="/typed"),
        LongAPI(api_path="/long"),
        DeadlyAPI(api_path="/deadly"),
    ]
    if only := os.environ.get("ONLY"):
        apis = [api for api in apis if api.api_path in only.split()]
    if os.environ.get("STREAM") == "1":  # one streaming API turns LitServe's gzip off for all
        apis.append(StreamAPI(api_path="/stream", stream=True))
    paths = [api.api_path.replace("{tenant}", "secret") for api in apis]
    options = {"paths": paths, "ttl": 300, "trial": int(os.environ.get("TRIAL", "0"))}
    if folder := os.environ.get("STORE"):
        options |= {"store": SharedStore(folder), "namespace": "http", "version": "1"}
    server = ls.LitServer(
        apis, accelerator="cpu", max_payload_size=20_000_000,
        timeout=float(os.environ.get("TIMEOUT", "20")), restart_workers=True,
        middlewares=[(CacheMiddleware, options)] if os.environ["CACHE"] == "1" else [],
    )  # fmt: skip
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False,
        num_api_servers=int(os.environ.get("SERVERS", "1")),
        api_server_worker_type=os.environ.get("TYPE", "process"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
