"""Serve chdb, which is ClickHouse in a process, as ClickHouse's HTTP interface does: FOLDER PORT."""

import http.server
import sys
import threading

from chdb import session

DATABASE = session.Session(sys.argv[1])
ONE_AT_A_TIME = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        statement = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        try:
            with ONE_AT_A_TIME:
                status, body = 200, DATABASE.query(statement, "TabSeparatedWithNamesAndTypes").bytes()
        except RuntimeError as error:
            status, body = 500, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
