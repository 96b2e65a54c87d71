"""ASE's built-in molecules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from mlffdb.sampling.items import Item
from mlffdb.sampling.names import Symbol, suggestion
from mlffdb.sampling.source import Source, Work
from mlffdb.structures import Rejection, Structure
from mlffdb.structures.composition import hill_formula


class G2(Source):
    """Molecules of the G2/97 set as ASE has them (MP2 geometries), with their multiplicities."""

    type: Literal["g2"] = "g2"
    names: Literal["all"] | tuple[str, ...] = Field(default="all", description="names, or all")
    elements: tuple[Symbol, ...] = Field(default=(), description="only molecules of these elements")
    open_shell: bool = Field(
        default=False, description="whether those with unpaired electrons are taken"
    )

    default_domain: ClassVar[str] = "organic"

    @field_validator("names")
    @classmethod
    def _known(cls, names: Literal["all"] | tuple[str, ...]) -> Literal["all"] | tuple[str, ...]:
        for name in () if names == "all" else names:
            if name not in _g2().names:
                raise ValueError(f"no molecule {name!r} in g2; {suggestion(name, _g2().names)}")
        return names

    def work(self) -> Iterator[Work]:
        for name in _g2().names if self.names == "all" else self.names:
            atoms = _g2()[name]
            fits = not self.elements or set(atoms.symbols) <= set(self.elements)
            if fits and (self.open_shell or not atoms.get_initial_magnetic_moments().any()):
                yield Work({"name": name})

    def build(
        self,
        payload: Mapping[str, Any],
        domain: str,
        seed: int,  # noqa: ARG002
    ) -> Iterator[Item | Rejection]:
        name = payload["name"]
        structure = Structure.from_atoms(_g2()[name])
        tags = ("reference",) if structure.n_atoms == 1 else ()
        item = Item(self.type, name, domain, (_group_key(structure),), tags)
        item.give(structure, {"name": name})
        yield item


def _g2() -> Any:
    from ase.collections import g2

    return g2


def _group_key(structure: Structure) -> str:
    """The molecule's InChIKey where RDKit finds its bonds, else its formula."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    from mlffdb.structures.molecules import group_key

    lines = [f"{structure.n_atoms}", ""]
    atoms = structure.to_atoms()
    for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True):
        lines.append(f"{symbol} {x:.8f} {y:.8f} {z:.8f}")
    with rdBase.BlockLogs():
        molecule = Chem.MolFromXYZBlock("\n".join(lines) + "\n")
        try:
            rdDetermineBonds.DetermineBonds(molecule, charge=structure.charge)
        except (ValueError, RuntimeError):
            return f"composition:{hill_formula(structure.numbers)}"
    if any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        return f"composition:{hill_formula(structure.numbers)}"
    return group_key(molecule)
