"""Colours of classes."""

from __future__ import annotations

__all__ = ["COLOUR_BLIND", "USUAL", "class_color", "hex_color", "is_class_color"]

#: ``glasbey_bw_minc_20_minl_30`` of colorcet 3.2 (CC BY 4.0, HoloViz; https://colorcet.holoviz.org), six
#: digits a colour, made by the algorithm of Glasbey et al., "Colour displays for categorical images" (2007):
#: each colour is far from those before it, from white and from black. colorcet would import matplotlib.
_DIGITS = (
    "d60000018700b500ff05acc697ff00ffa52fff8ec879525e00fdcfafa5ff93ac839a6900366962d3008cfdf490c86e66"
    "9ee2ff00c846a877acb8ba01f4bfb1ff28fdf2cdff009e7cff620056642a953f1f90318eff3464a0e4918c9ab1829026"
    "ae083f77c6babc9157e48eff72b8ffc6a5c1ff9070d3c37cbceddb6b8567916e56f9ff00bac1dfac567cffcd03ff49b1"
    "c156035d8c90c144bc00753fba6efd00d49300ff7549a150cc979000ebeddb7e01f77589b89500c8424800cff9755726"
    "85d401ebffd4a77b87db72c8cae2568abf5da1216b855b8989bacfffbad6b6cfaa97414d67aa00fde1b1ff362880793d"
    "d6e8ffa795c67ea59ad182a354823be6a8729cffffda548005b3aaffaaf6d1afefda015dac1a1360b385d442fdacaa59"
    "fb9ca7b3723bf26952aed1d49affc3dbb333eb01c39900c4cfff9ea559493b6d0100857995916789dbb36d7400aa5dca"
    "07ef00804f3dd88052ffc862b8009e99acdd904f008c44704f6e52ff8734c68ecdd4e29eb1826d9cfb7556dd77f90087"
    "a1cdff13cad1118e54d154a500dfc3a3832f77975bbaaa8070a3afd6fbffe8013ad84621ff82edb63862b6cd7297626b"
    "89749000a31600f4a1bf90f289e4d8a34d956e5d008cc68e95aa2ac672ddb33b01d69a36dfacb6009aa059900097bca8"
    "ac8ca8dad4ff547c7200ba69ffc38eb800d4dfcf5b629a7bbfedbcc1bdfd80d3dde2857ef9eb4dbf6d82caff4fef72aa"
    "ed67ff9946ae6d6942e25660dd662d9cdb5de29ccfb87500c6002ddfbcda59b5dfff59da38c1a19e698cacaac895622f"
    "b556622b7e60b1e400eda59095fde2ff548ebd6ea1aa3b36d8cf00aa80cda08052e100e8c35b3db53a858c7700dbbc95"
    "529e93afbc8291b5b6a75423ffd4ef79ae6b5db54b80fb9a48ffef9795489387a731d4006ee956b6d4eb705470f2db8a"
    "aad4c17ecdf289ba0064b6baffb500c38285caaa5e64774859e2ffdf4dcde9ff79bc66b8c395a564c674d1957070cf4f"
    "aa6e669c60a500b800e299b3bc006bb3e8efcdbfe477a342856277568e5b9eafc4e82fa0247c2a826723bfbc4dddd3a5"
)
#: For eyes that lack one kind of cones: sixty colours made as those above, each far from those before it to
#: usual eyes and by the simulation of protanopia and deuteranopia of Machado et al., "A physiologically-based
#: model for simulation of color vision deficiency" (2009), severity 1.
_DIGITS_BLIND = (
    "a024ff757c00ffdb0083929216246d425749d3b6ffd3bd9942667c750000a0a82c757c5f8a8abd243a42ccbdcc2c00cc"
    "ffe9a09299664966334924245f7575a875fff8e9d3bdafa8165083d3e9ff756da8ccc56699a0b6a816008399836649bd"
    "5f839257575fe2d3d3a899e95f3a2cb6005f7c83498a9233242c49afaf6dc5b6db6683758a75cc0f07995707f0ccbd00"
    "afa8af2c423a42f0b6afa88a5f75332433a0f8db6d2c5f070f6692e9cc92495f423a6d5f"
)
USUAL, COLOUR_BLIND = "usual", "colour-blind"
_COLOURS = {
    name: ["#" + digits[i : i + 6] for i in range(0, len(digits), 6)]
    for name, digits in ((USUAL, _DIGITS), (COLOUR_BLIND, _DIGITS_BLIND))
}
_KNOWN = frozenset(colour for colours in _COLOURS.values() for colour in colours)


def class_color(label: int) -> tuple[int, int, int]:
    """Return the RGB colour of a class id >= 1; those of the first 256 ids differ, the first ones most."""
    color = hex_color(label)
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def hex_color(label: int, palette: str = USUAL) -> str:
    """Return :func:`class_color` as ``#rrggbb``; those of ``colour-blind`` come back after 60."""
    colours = _COLOURS[palette]
    return colours[(label - 1) % len(colours)]


def is_class_color(color: str) -> bool:
    """Tell whether ``#rrggbb`` is a colour of classes, of whichever palette."""
    return color.lower() in _KNOWN
