"""The settings, read from the environment in this one place."""

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the environment may say: each field is the variable of its name in upper case.

    An empty variable counts as unset. A bad value is a `pydantic.ValidationError` that names it.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)

    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(str.lower)
    ] = "info"
    log_format: Annotated[Literal["text", "json"], BeforeValidator(str.lower)] = "text"
    # Addresses and networks of proxies, with commas between them, or * for anyone.
    forwarded_allow_ips: str = "127.0.0.1,::1"

    @property
    def trusted_proxies(self) -> str:
        """What `forwarded_allow_ips` says, and what IPv4 is called where a server listens on ::.

        Raises:
            ValueError: A word is neither an address nor a network.
        """
        words = [word.strip() for word in self.forwarded_allow_ips.split(",")]
        networks = [ip_network(word) for word in words if word != "*"]
        mapped = [
            f"::ffff:{network.network_address}/{96 + network.prefixlen}"
            for network in networks
            if network.version == 4
        ]
        return ",".join(words + mapped)
