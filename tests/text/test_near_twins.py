import numpy as np

from colbert_lab.text.near_twins import drop_twins, shingle_hashes

WORDS = [f"w{number}" for number in range(60)]
BASE = " ".join(WORDS[:30])


def test_a_run_is_eight_words() -> None:
    assert [len(h) for h in shingle_hashes([BASE, " ".join(WORDS[:8]), "two words", "", "..."])] == [
        23,
        1,
        1,
        0,
        0,
    ]


def test_case_punctuation_and_repetition_do_not_count() -> None:
    same = shingle_hashes(
        ["One, two three four five six seven EIGHT.", "one two three (four) five six seven eight"]
    )
    assert same[0].tolist() == same[1].tolist()
    assert len(shingle_hashes(["a " * 50])[0]) == 1


def test_order_of_words_counts() -> None:
    one, other = shingle_hashes(["a b c d e f g h", "b a c d e f g h"])
    assert not np.intersect1d(one, other).size


def keep(*groups: list[str]) -> list[list[bool]]:
    hashes = shingle_hashes([text for group in groups for text in group])
    starts = np.cumsum([0, *map(len, groups)])
    return drop_twins([hashes[starts[i] : starts[i + 1]] for i in range(len(groups))])


def test_more_than_half_of_the_runs_makes_a_twin() -> None:
    half = " ".join(WORDS[:18] + [f"x{n}" for n in range(11)])  # 11 of 22 runs are shared
    more = " ".join(WORDS[:19] + [f"x{n}" for n in range(10)])  # 12 of 22
    assert keep([BASE], [half, more]) == [[True], [True, False]]


def test_a_short_document_inside_a_long_one_is_a_twin_either_way() -> None:
    short, long = " ".join(WORDS[:12]), " ".join(WORDS)
    assert keep([short], [long]) == [[True], [False]]
    assert keep([long], [short]) == [[True], [False]]


def test_pieces_of_several_documents_make_a_twin() -> None:
    pieces = [
        " ".join([*WORDS[start : start + 14], *(f"p{start}x{n}" for n in range(30))]) for start in (0, 14, 28)
    ]
    assert keep(pieces, [" ".join(WORDS[:42])])[1] == [False]


def test_groups_keep_the_first_and_the_last_group_is_not_compared_with_itself() -> None:
    other = " ".join(WORDS[30:])
    assert keep([BASE, BASE], [other, BASE], [other]) == [[True, False], [True, False], [False]]
    assert keep([BASE], [other, other]) == [[True], [True, True]]
