"""MMFF94 of RDKit as an ASE calculator."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.units import kcal, mol

from mlffdb.sampling.engines import EngineFailedError

KCAL_PER_MOL = kcal / mol  # eV


class MmffCalculator(Calculator):  # type: ignore[misc]
    """MMFF94 energies and forces of one molecule (Halgren, J. Comput. Chem. 17, 490, 1996).

    Raises EngineFailedError where there are no bonds or an atom has no MMFF94 type.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's attribute

    def __init__(self, molecule: Any) -> None:
        from rdkit.Chem import Mol, rdForceFieldHelpers

        super().__init__()
        if molecule is None:
            raise EngineFailedError("mmff: needs bonds, which this source does not give")
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(Mol(molecule))
        if properties is None:
            raise EngineFailedError("mmff: an atom of the molecule has no MMFF94 type")
        self._molecule, self._properties = Mol(molecule), properties
        self._field: Any = None

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Compute energy (eV) and forces (eV/Å)."""
        super().calculate(atoms, properties, system_changes)
        if self._field is None:
            self._field = self._force_field()
        flat = self.atoms.positions.ravel().tolist()
        # energy first: it renews the distances that RDKit's CalcGrad takes from the last call
        energy = self._field.CalcEnergy(flat)
        gradient = np.array(self._field.CalcGrad(flat)).reshape(-1, 3)
        self.results = {
            "energy": energy * KCAL_PER_MOL,
            "forces": -gradient * KCAL_PER_MOL,
        }

    def _force_field(self) -> Any:
        """Terms of the force field; a conformer is needed, its coordinates are not used later."""
        from rdkit.Chem import Conformer, rdForceFieldHelpers
        from rdkit.Geometry import Point3D

        conformer = Conformer(self._molecule.GetNumAtoms())
        for index, position in enumerate(self.atoms.positions):
            conformer.SetAtomPosition(index, Point3D(*position))
        self._molecule.RemoveAllConformers()
        self._molecule.AddConformer(conformer)
        # every non-bonded pair is kept, whatever the distances of the first geometry
        return rdForceFieldHelpers.MMFFGetMoleculeForceField(
            self._molecule, self._properties, nonBondedThresh=1e6, ignoreInterfragInteractions=False
        )
