"""Texts of the golden folders: what the tiny tokenizers are trained on, and what the peers encode.

English, Turkish and Azerbaijani, written for this project. The latter two have a dotted and a dotless i, which
lower-casing and the stripping of accents treat in ways of their own.
"""

from __future__ import annotations

from collections.abc import Callable

TRAINING_TEXTS = (
    "search_query: how do I store honey for the winter?",
    "search_document: honey keeps for years in a dry and closed jar.",
    "the old bridge over the river was built by three brothers.",
    "which river runs through the city, and where does it end?",
    "a small boat carries bread, cheese and apples to the island.",
    "she reads the newspaper every morning; he waters the garden.",
    "rain is expected in the north, but the south stays warm.",
    "bring the ladder, the rope and two buckets of water.",
    "the museum opens at nine and closes at half past five.",
    "trains to the coast leave every hour from platform four.",
    "şehrin içindeki küçük çay bahçesi akşam açık mı?",
    "ırmağın kıyısında oturup ışıkları seyrettik.",
    "İzmir'den İstanbul'a giden otobüs kaçta kalkıyor?",
    "kış gelince ağaçlar yapraklarını döker, günler kısalır.",
    "bu köyde bal, peynir ve ekmek satılır.",
    "kitabın ilk bölümü çok uzun, ikincisi daha ilginç.",
    "dağın ətəyində kiçik bir kənd var, orada alma bağları çoxdur.",
    "bu gecə hava soyuq olacaq, qapını bağla.",
    "İlk dərs saat doqquzda başlayır, şagirdlər məktəbə gəlir.",
    "çayın suyu təmizdir, balıqlar aydın görünür.",
    "qış üçün balı harada saxlamaq lazımdır?",
    "ağ gəmi limandan çıxdı və üfüqdə itdi.",
)

QUERIES = (
    "honey",
    "  the river  ",
    "İZMİR'de ılık ÇAY",
    "QIŞ ÜÇÜN balı harada saxlamaq lazımdır",
    "bread & apples?",
)

DOCUMENTS = (
    "Honey keeps for years -- in a dry, closed jar!",
    "  The old bridge (over the river) was built by three brothers.  ",
    "Irmağın kıyısında İKİ ışık: biri sarı, biri AÇIK mavi...",
    "Dağın ətəyində kiçik kənd; İLK alma bağları ŞƏHƏRDƏN uzaqdır.",
    "the newspaper, the garden 漢字 & the §€ island",
    "a [MASK] boat",
)

LONG_TEXT = (
    "every morning the small boat carries bread, cheese and apples to the island, where three brothers keep an "
    "old bridge open: şehrin küçük çay bahçesi, kışın İzmir'den gelen ışık; dağın ətəyində kiçik kənd, balıqlar "
    "və üfüqdə itən ağ gəmi. rain is expected in the north, but the south stays warm!"
)


def edge_texts(tokens: Callable[[str], int], length: int) -> tuple[str, ...]:
    """Starts of the long text: as long as allowed, one token more, and all of it.

    Args:
        tokens: counts everything a text becomes when nothing is cut off.
        length: most tokens of a text.

    Raises:
        ValueError: no start of the long text has that many tokens.
    """
    return (_text_of(tokens, length), _text_of(tokens, length + 1), LONG_TEXT)


def _text_of(tokens: Callable[[str], int], length: int) -> str:
    for end in range(1, len(LONG_TEXT)):
        text = LONG_TEXT[:end].strip()
        if tokens(text) == length:
            return text
    raise ValueError(f"no start of the long text has {length} tokens")
