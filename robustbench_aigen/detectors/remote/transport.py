"""Single requests through httpx, with a limit on time and size."""

import logging
import ssl
import time
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

from robustbench_aigen.detectors.remote.credentials import Credentials
from robustbench_aigen.errors import first_line
from robustbench_aigen.imports import import_library
from robustbench_aigen.scenario.http_spec import HttpSpec

_LARGEST = 16 * 2**20
"""Largest answer in bytes, after decompression."""


class Reply(NamedTuple):
    """The answer to a request; the names of ``headers`` are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header."""
        return self.headers.get(name)


class Unanswered(Exception):  # noqa: N818  The service turns it into its own error.
    """A request without an answer.

    Attributes
    ----------
    arrived
        Whether the service may have received the request.
    may_repeat
        Whether another try may have an answer.
    """

    def __init__(self, text: str, *, arrived: bool, may_repeat: bool = True) -> None:
        super().__init__(text)
        self.arrived, self.may_repeat = arrived, may_repeat


class Transport:
    """Sends requests to one address; several threads may do so at a time.

    Parameters
    ----------
    address, spec, credentials
        The address with references to variables, the description, and the variables.
    """

    def __init__(self, address: str, spec: HttpSpec, credentials: Credentials) -> None:
        self._httpx: Any = import_library("httpx", extra="http", what="a detector behind HTTP")
        self._address, self._spec, self._credentials = address, spec, credentials
        self._client: Any = None
        self._lock = Lock()
        _MASKING.add(credentials)

    def send(self, parts: Mapping[str, Any]) -> Reply:
        """Send one request.

        Raises
        ------
        Unanswered
            If there is no whole answer in time.
        """
        httpx, until = self._httpx, time.monotonic() + self._spec.timeout
        address = self._credentials.filled(self._address, in_address=True)
        has_answer = False
        try:
            with self.opened().stream(self._spec.method, address, **parts) as response:
                has_answer = True
                return self._received(response, until)
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            raise Unanswered(f"no connection within {self._spec.timeout:g} s", arrived=False) from None
        except httpx.TimeoutException:
            raise Unanswered(self._too_slow(), arrived=True) from None
        except httpx.ConnectError as error:
            untrusted = _is_untrusted(error)
            text = f"no connection{self._through_a_proxy()}: {self._credentials.masked(first_line(error))}"
            raise Unanswered(text, arrived=False, may_repeat=not untrusted) from None
        except httpx.ProxyError as error:
            text = f"the proxy of the environment refuses: {self._credentials.masked(first_line(error))}"
            raise Unanswered(text, arrived=False) from None
        except httpx.DecodingError:
            raise Unanswered("an answer whose compression is damaged", arrived=True) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            is_ours = isinstance(
                error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.InvalidURL
            )
            text = f"{type(error).__name__}: {self._credentials.masked(first_line(error))}"
            raise Unanswered(text, arrived=not is_ours, may_repeat=not is_ours) from None
        except (ImportError, OverflowError, ValueError) as error:
            # A host without an encoding, a time-out beyond those of the system, a proxy without its library.
            text = self._credentials.masked(f"{type(error).__name__}: {first_line(error)}")
            raise Unanswered(text, arrived=has_answer, may_repeat=False) from None

    def _received(self, response: Any, until: float) -> Reply:
        """Return the whole answer, unless it is too large, or still arriving at a time of the monotonic clock."""
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _LARGEST:
                raise Unanswered(
                    f"an answer of more than {_LARGEST // 2**20} MiB", arrived=True, may_repeat=False
                )
            if time.monotonic() > until:
                raise Unanswered(self._too_slow(), arrived=True)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, response.reason_phrase, headers, bytes(body))

    def _through_a_proxy(self) -> str:
        parts = urlsplit(self._address)
        if parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
            return f" (through the proxy of {parts.scheme.upper()}_PROXY)"
        return ""

    def _too_slow(self) -> str:
        return f"no whole answer within {self._spec.timeout:g} s"

    def opened(self) -> Any:
        """Return the client of httpx; it is made at the first call, which takes a moment."""
        with self._lock:
            if self._client is None:
                most = self._spec.concurrent
                self._client = self._httpx.Client(
                    timeout=self._spec.timeout,
                    follow_redirects=False,
                    limits=self._httpx.Limits(max_connections=most, max_keepalive_connections=most),
                    # An answer must not depend on the answers before it.
                    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                    headers={
                        "User-Agent": f"robust-aigen/{version('robustbench-aigen')}",
                        "Accept": "application/json",
                    },
                )
            return self._client


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the certificate of a service was refused."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


_MASKING: "WeakSet[Credentials]" = WeakSet()


class _MaskingFilter(logging.Filter):
    """Masks credentials in the log of httpx, which has addresses and headers."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        for credentials in list(_MASKING):
            text = credentials.masked(text)
        record.msg, record.args = text, ()
        return True


for _name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy"):
    logging.getLogger(_name).addFilter(_MaskingFilter())
