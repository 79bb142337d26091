"""What goes to the workers of a cluster, as a host has put it together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Indexes", "Parcel", "Shipment"]


@dataclass(frozen=True)
class Parcel:
    """One distribution, pinned.

    :param marker: for which workers it is, as PEP 508 has it; ``None``: for all
    :param index: the one index that it may come from; ``None``: those of the shipment
    :param wheel: name of its file in the shipment's folder, for what no index has
    """

    name: str
    version: str
    marker: str | None = None
    index: str | None = None
    wheel: str | None = None

    @property
    def pin(self) -> str:
        """The requirement, without its marker."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class Indexes:
    """Where a block says that packages come from; no credentials.

    :param default: asked instead of PyPI
    :param more: asked before it
    :param pages: those that are pages of links, whether asked for all packages or for some alone
    :param no_index: whether no index is asked, only what *find_links* has
    :param strategy: how uv chooses among several indexes, if not in its own way
    """

    default: str | None = None
    more: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    no_index: bool = False
    strategy: str | None = None

    @property
    def options(self) -> list[str]:
        """What pip and uv are told, in the words that both know."""
        pairs = [
            *(("--index-url", url) for url in (self.default,) if url is not None),
            *(("--extra-index-url", url) for url in self.more),
            *(("--find-links", url) for url in self.find_links),
        ]
        words = [word for pair in pairs for word in pair]
        return ["--no-index", *words] if self.no_index else words

    def alone(self, url: str) -> list[str]:
        """Give what pip and uv are told for what comes from one index and no other."""
        return ["--no-index", "--find-links", url] if url in self.pages else ["--index-url", url]

    def beside(self, url: str) -> list[str]:
        """Give what they are told to ask that one too."""
        return ["--find-links" if url in self.pages else "--extra-index-url", url]


@dataclass(frozen=True)
class Shipment:
    """A notebook's environment, as another machine can have it.

    :param source: the notebook, for messages
    :param name: its environment's name
    :param environment: its environment's place: workers that run in it lack nothing
    :param python: the minor version, such as ``3.12``
    :param base: the interpreter that the environment was made from
    :param engine: the versions of the engine, which workers must have already
    :param parcels: everything else that is installed, but for what only the engine needs
    :param left: names of what stays behind, the engine's own
    :param warnings: sentences about what workers have to be given otherwise
    """

    source: str
    name: str
    environment: str
    python: str
    base: str
    engine: dict[str, str]
    parcels: tuple[Parcel, ...]
    indexes: Indexes = field(default_factory=Indexes)
    left: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Shipment:
        """Read what :func:`dataclasses.asdict` made, on the other side of a pipe."""
        indexes = data["indexes"]
        return cls(
            **{
                **data,
                "parcels": tuple(Parcel(**each) for each in data["parcels"]),
                "indexes": Indexes(
                    default=indexes["default"],
                    more=tuple(indexes["more"]),
                    find_links=tuple(indexes["find_links"]),
                    pages=tuple(indexes["pages"]),
                    no_index=indexes["no_index"],
                    strategy=indexes["strategy"],
                ),
                "left": tuple(data["left"]),
                "warnings": tuple(data["warnings"]),
            }
        )
