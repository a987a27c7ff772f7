"""Answers one question of AWS Systems Manager: which image is Amazon Linux now?

AWS publishes the answer as a public parameter, which ministack knows too, but by the id of an image that is on AWS; here
it must be the local cloud's. It knows GetParameter and nothing else, and refuses every name but that of a public image.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PREFIX = "/aws/service/ami-amazon-linux-latest/"


class Parameters:
    """Serves on a free port until `stop`."""

    def __init__(self, image):
        """`image` is asked for the id at each request."""

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_POST(self):  # The name is http.server's.
                length = int(self.headers.get("Content-Length", "0"))
                name = json.loads(self.rfile.read(length) or b"{}").get("Name", "")
                known = self.headers.get("X-Amz-Target") == "AmazonSSM.GetParameter" and name.startswith(PREFIX)
                body = {"Parameter": {"Name": name, "Type": "String", "Value": image(), "Version": 1}} if known else {
                    "__type": "ParameterNotFound", "message": f"the bed has no parameter {name}"}
                data = json.dumps(body).encode()
                self.send_response(200 if known else 400)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                """The guide's blocks show the answer."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, name="parameters", daemon=True).start()

    def stop(self):
        """Closes the port."""
        self.server.shutdown()
        self.server.server_close()
