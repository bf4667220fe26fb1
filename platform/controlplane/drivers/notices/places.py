"""Which machines may be spoken to on behalf of somebody who typed an address.

A person who may name any address must not reach, through us, what only we can reach: this
machine, its neighbours, the cloud's metadata. So a name is looked up once, every answer is
looked at, and the connection goes to the very address that was looked at: a name that means
another machine a moment later gains nothing.
"""

import ipaddress
import socket

from controlplane.kernel.errors import Permanent, Transient

# IPv6 addresses that carry an IPv4 address, which counts then.
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def resolve(host: str, port: int, *, private: bool) -> str:
    """Return an address of `host` that may be spoken to.

    Args:
        host: A name or an address.
        port: The port.
        private: Whether the own machine and network are allowed.

    Raises:
        Transient: The name is not known now.
        Permanent: It means a machine that may not be spoken to.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Transient(
            f"The host {host} is not known: {error}.",
            remedy="Check its name, and this machine's name service.",
            code="notice.host_unknown",
        ) from error
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    closed = [] if private else [a for a in addresses if not is_public(a)]
    if closed:
        raise Permanent(
            f"{host} is {closed[0]}, an address of this machine or its network.",
            remedy="Name a public address, or set MODELYARD_NOTIFY_PRIVATE=on.",
            code="notice.private_address",
        )
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether `address` is on the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast
