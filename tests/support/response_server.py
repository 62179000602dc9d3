"""A server of images whose responses are cached, in the loop that is named."""

import io
import os
import sys

import litserve as ls
from PIL import Image
from starlette.responses import Response

from litcache import CachedBatchedLoop, cached_predict


class ImageAPI(ls.LitAPI):
    encoded = 0

    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["size"]

    @cached_predict(result="response", trial=0)
    def predict(self, sizes):
        return [Image.linear_gradient("L").resize((size, size)) for size in sizes]

    def encode_response(self, image):
        self.encoded += 1
        stream = io.BytesIO()
        image.save(stream, "PNG")
        headers = {"x-encoded": str(self.encoded)}
        return Response(stream.getvalue(), media_type="image/png", headers=headers)


if __name__ == "__main__":
    loop = CachedBatchedLoop() if sys.argv[1] == "CachedBatchedLoop" else None
    api = ImageAPI(max_batch_size=4, batch_timeout=0.01, loop=loop)
    server = ls.LitServer(api, accelerator="cpu")
    server.run(port=int(os.environ["PORT"]), generate_client_file=False)
