"""The twenty amino acids as SMILES fragments of a peptide chain."""

from __future__ import annotations

#: Three-letter code → one-letter code, residue –NH–CHR–CO– as SMILES (L, uncharged), and its
#: formula (C, H, N, O, S), which the built peptide is checked against.
RESIDUES: dict[str, tuple[str, str, tuple[int, int, int, int, int]]] = {
    "ALA": ("A", "N[C@@H](C)C(=O)", (3, 5, 1, 1, 0)),
    "ARG": ("R", "N[C@@H](CCCNC(=N)N)C(=O)", (6, 12, 4, 1, 0)),
    "ASN": ("N", "N[C@@H](CC(=O)N)C(=O)", (4, 6, 2, 2, 0)),
    "ASP": ("D", "N[C@@H](CC(=O)O)C(=O)", (4, 5, 1, 3, 0)),
    "CYS": ("C", "N[C@@H](CS)C(=O)", (3, 5, 1, 1, 1)),
    "GLN": ("Q", "N[C@@H](CCC(=O)N)C(=O)", (5, 8, 2, 2, 0)),
    "GLU": ("E", "N[C@@H](CCC(=O)O)C(=O)", (5, 7, 1, 3, 0)),
    "GLY": ("G", "NCC(=O)", (2, 3, 1, 1, 0)),
    "HIS": ("H", "N[C@@H](Cc1c[nH]cn1)C(=O)", (6, 7, 3, 1, 0)),
    "ILE": ("I", "N[C@@H]([C@@H](C)CC)C(=O)", (6, 11, 1, 1, 0)),
    "LEU": ("L", "N[C@@H](CC(C)C)C(=O)", (6, 11, 1, 1, 0)),
    "LYS": ("K", "N[C@@H](CCCCN)C(=O)", (6, 12, 2, 1, 0)),
    "MET": ("M", "N[C@@H](CCSC)C(=O)", (5, 9, 1, 1, 1)),
    "PHE": ("F", "N[C@@H](Cc1ccccc1)C(=O)", (9, 9, 1, 1, 0)),
    "PRO": ("P", "N1CCC[C@H]1C(=O)", (5, 7, 1, 1, 0)),
    "SER": ("S", "N[C@@H](CO)C(=O)", (3, 5, 1, 2, 0)),
    "THR": ("T", "N[C@@H]([C@H](O)C)C(=O)", (4, 7, 1, 2, 0)),
    "TRP": ("W", "N[C@@H](Cc1c[nH]c2ccccc12)C(=O)", (11, 10, 2, 1, 0)),
    "TYR": ("Y", "N[C@@H](Cc1ccc(O)cc1)C(=O)", (9, 9, 1, 2, 0)),
    "VAL": ("V", "N[C@@H](C(C)C)C(=O)", (5, 9, 1, 1, 0)),
}
#: Side chains as they are at pH 7: SMILES, and hydrogens more or fewer than uncharged.
CHARGED = {
    "ARG": ("N[C@@H](CCCNC(=[NH2+])N)C(=O)", 1),
    "ASP": ("N[C@@H](CC(=O)[O-])C(=O)", -1),
    "GLU": ("N[C@@H](CCC(=O)[O-])C(=O)", -1),
    "LYS": ("N[C@@H](CCCC[NH3+])C(=O)", 1),
}
BY_LETTER = {letter: code for code, (letter, _, _) in RESIDUES.items()}
#: Acetyl CH3CO– and N-methylamide –NHCH3 together: C3H7NO.
CAPS = (3, 7, 1, 1, 0)


def parse_sequence(text: str) -> tuple[str, ...]:
    """Return three-letter codes from ``ALA-GLY`` or ``AG``; raises ValueError."""
    parts = text.upper().split("-") if "-" in text or text.upper() in RESIDUES else list(text)
    codes = tuple(BY_LETTER.get(part, part) for part in parts)
    unknown = [code for code in codes if code not in RESIDUES]
    if unknown or not codes:
        raise ValueError(
            f"sequence {text!r}: unknown residue {', '.join(unknown) or '(none)'}; "
            f"write ALA-GLY or AG with {', '.join(f'{c} ({r[0]})' for c, r in RESIDUES.items())}"
        )
    return codes


def capped_smiles(codes: tuple[str, ...], *, charged: bool) -> str:
    """Return the SMILES of the peptide between an acetyl and an N-methylamide cap."""
    residues = [CHARGED[c][0] if charged and c in CHARGED else RESIDUES[c][1] for c in codes]
    return "CC(=O)" + "".join(residues) + "NC"


def hydrogens(codes: tuple[str, ...], *, charged: bool) -> int:
    """Return the number of hydrogens that the capped peptide has."""
    protons = sum(CHARGED[code][1] for code in codes if charged and code in CHARGED)
    return CAPS[1] + sum(RESIDUES[code][2][1] for code in codes) + protons


def formula(codes: tuple[str, ...]) -> dict[str, int]:
    """Return the formula of the uncharged capped peptide."""
    columns = zip(CAPS, *(RESIDUES[code][2] for code in codes), strict=True)
    totals = dict(zip("CHNOS", (sum(column) for column in columns), strict=True))
    return {symbol: count for symbol, count in totals.items() if count}
