"""Makes an S3 server look like the XML interface of Google Cloud Storage: ``gcs_xml.py PORT UPSTREAM``.

The two differ in how they say "only if absent", in the names of metadata, in the generation that comes with each
object, and in the answer to the deletion of what is not there.
"""

import http.client
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UPSTREAM = urllib.parse.urlsplit(sys.argv[2]).netloc if __name__ == "__main__" else ""
# moto checks no signature, but shows what is private to nobody who has none.
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=x/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
)
OWN = frozenset({"connection", "date", "server", "transfer-encoding"})


class Translator(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {
            name.lower().replace("x-goog-meta-", "x-amz-meta-"): value
            for name, value in self.headers.items()
            if name.lower() not in {"authorization", "host"}
        }
        headers["Authorization"] = SIGNATURE
        if headers.pop("x-goog-if-generation-match", None) == "0":
            headers["If-None-Match"] = "*"
        if (
            self.command == "DELETE"
            and "?" not in self.path
            and self.ask("HEAD", {"Authorization": SIGNATURE}, b"")[0] == 404
        ):
            self.reply(404, [], b"")
            return
        status, found, data = self.ask(self.command, headers, body)
        if any(name.lower() == "etag" for name, _ in found):
            found.append(("x-goog-generation", "1"))
        self.reply(status, found, data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def upstream_path(self) -> str:
        """Return the path as S3 clients write it: Google's encode every sign, the slashes of names too."""
        path, mark, query = self.path.partition("?")
        return urllib.parse.quote(urllib.parse.unquote(path), safe="/~") + mark + query

    def ask(
        self, method: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(UPSTREAM, timeout=60)
        try:
            connection.request(method, self.upstream_path(), body, headers)
            found = connection.getresponse()
            return found.status, found.getheaders(), found.read()
        finally:
            connection.close()

    def reply(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in OWN and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name.lower().replace("x-amz-meta-", "x-goog-meta-"), value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Be quiet."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Translator)
    server.serve_forever()
