"""An item from a molecule with bonds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlffdb.sampling.items import Item

if TYPE_CHECKING:
    from rdkit.Chem import Mol


def molecule_item(
    molecule: Mol, source: str, key: str, domain: str, group_keys: tuple[str, ...] = ()
) -> Item:
    """Return the item of *molecule*, tied to all other structures of the same molecule."""
    from mlffdb.structures.molecules import group_key, mapped_smiles

    return Item(
        source=source,
        key=key,
        domain=domain,
        group_keys=(group_key(molecule), *group_keys),
        smiles=mapped_smiles(molecule),
        molecule=molecule,
    )
