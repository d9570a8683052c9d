"""A PostgreSQL server of the test's own: a cluster in a temporary folder, which may be stopped and started again."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

USER, PASSWORD, BASE = "tester", "s3cret/of:mine", "studies"


def programs() -> Path | None:
    """The folder of PostgreSQL's programs: one on the PATH, else the newest of Debian's; None if there is none."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True
    )
    for folder in (*map(Path, os.get_exec_path()), *debian):
        if all(shutil.which(name, path=str(folder)) for name in ("initdb", "pg_ctl", "psql")):
            return folder
    return None


class PostgresServer:
    """A running server. PostgreSQL refuses to run as root; root starts it as the user `nobody`."""

    def __init__(self) -> None:
        self._bin = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres"))  # a test's own folder is closed to `nobody`
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self._folder / "password").write_text(PASSWORD, encoding="utf-8")
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (self._folder, self._folder / "password"):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        files = ["-D", str(self._folder / "data"), "--pwfile", str(self._folder / "password")]
        self._do("initdb", *files, "-U", USER, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C")
        self.start()
        try:
            self.sql(f"CREATE DATABASE {BASE}", base="postgres")
        except BaseException:
            self.end()
            raise

    def url(self, password: str = PASSWORD) -> str:
        """The URL of the database, as `storage` takes it; special characters are quoted."""
        quoted = password.replace("/", "%2F").replace(":", "%3A")
        return f"postgresql://{USER}{':' if quoted else ''}{quoted}@127.0.0.1:{self.port}/{BASE}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        self._do(
            "pg_ctl", "start", "-w", "-D", str(self._folder / "data"), "-l", str(self._folder / "log"), "-o", options
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: fast cuts connections off, immediate is like a crash."""
        self._do("pg_ctl", "stop", "-w", "-D", str(self._folder / "data"), "-m", mode)

    def sql(self, statement: str, base: str = BASE) -> str:
        """What a statement returns: a line for each row, columns separated by |."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, base]
        return self._do("psql", "-At", "-c", statement, *where)

    def end(self) -> None:
        """Stop the server and delete all of it."""
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self._folder)

    def _do(self, program: str, *arguments: str) -> str:
        as_user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self._folder,
            env={"PGPASSWORD": PASSWORD, "LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,  # a server keeps the pipe open
            stderr=subprocess.PIPE if program == "psql" else subprocess.STDOUT,
            text=True,
            check=False,
            **as_user,
        )
        if done.returncode:
            log = self._folder / "log"
            raise AssertionError(f"{program} {arguments}: {done.stderr} {log.read_text() if log.is_file() else ''}")
        return (done.stdout or "").strip()
