"""Exact search, MaxSim of every query with every document in blocks of bounded memory, and reranking by MaxSim.

What a split asks of any search is here too: closed lists of documents, whose scores are those of reranking, and
documents that are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import PackedEmbeddings, Ranking, Split
from colbert_lab.model.blocks import query_sums
from colbert_lab.model.devices import upload
from colbert_lab.model.xtr import EQUAL
from colbert_lab.search.store import TokenStore

BLOCKS = {"cpu": (4_194_304, 2_048), "cuda": (67_108_864, 8_192)}
"""Float32 similarities held at once, and query tokens in one matrix product, by kind of device: 16 MiB, what stays in a
CPU's cache; a GPU takes longer to start so small a product than to compute it."""
WIDENED = 4  # times the tokens of queries, with the padding that sums on a GPU may take


def tie_ranks(ids: list[str]) -> Tensor:
    """The order that decides between equal scores: trec_eval's, document id descending.

    Returns:
        int64 [C]; the document with the larger value wins a tie.
    """
    order = sorted(range(len(ids)), key=ids.__getitem__)
    ranks = torch.empty(len(ids), dtype=torch.int64)
    ranks[torch.tensor(order, dtype=torch.int64)] = torch.arange(len(ids))
    return ranks


def sort_keys(scores: Tensor, ties: Tensor) -> Tensor:
    """One int64 per score whose order is (score, tie): float32 bits above, tie rank below.

    Keys are all different, so top-k over them is exact and the same on every device.

    Args:
        scores: float32 [..., C], no NaN.
        ties: int64 [C], below 2**32.
    """
    bits = (scores + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.long() << 32) | ties


def score_of(keys: Tensor) -> Tensor:
    """The float32 scores inside :func:`sort_keys`."""
    ordered = (keys >> 32).int()
    return (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)


def top_k(scores_BC: Tensor, ties_C: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best documents of each row, ties decided by ``ties_C`` (larger wins).

    Returns:
        Scores [B, k] and column numbers [B, k], best first; k is cut to the number of columns.
    """
    keys, columns = sort_keys(scores_BC, ties_C).topk(min(k, scores_BC.shape[1]), dim=1)
    return score_of(keys), columns


def padded_positions(lengths_N: Tensor) -> Tensor:
    """Where the tokens of packed texts are, int64 [N, L]; padding repeats a text's own last token.

    A copy cannot change a maximum, so that no mask is needed.
    """
    starts_N = torch.cumsum(lengths_N, 0) - lengths_N
    position_NL = torch.minimum(torch.arange(int(lengths_N.max()))[None], lengths_N[:, None] - 1)
    return starts_N[:, None] + position_NL


def search(
    queries: PackedEmbeddings,
    store: TokenStore,
    ties_C: Tensor,
    k: int,
    *,
    device: torch.device | None = None,
    progress: str | None = None,
    least_T: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Exact MaxSim top-k over a corpus in memory or on disk.

    The corpus is read once, in blocks. Memory beyond the queries is one block's tokens, ``BLOCKS`` similarities
    and the running top k.

    Args:
        queries: B packed queries.
        store: the documents; each has at least one token.
        ties_C: see :func:`tie_ranks`.
        k: how many documents to keep a query.
        device: where to compute; None takes the queries'.
        progress: title of a progress bar in documents; None shows none.
        least_T: for each query token what takes the place of a smaller similarity (see
            :mod:`colbert_lab.search.xtr`); a document of which no token is as near to any has the score -inf. None
            takes similarities as they are.

    Returns:
        float32 scores [B, k'] and document rows [B, k'] on the CPU, best first, k' = min(k, C).
    """
    device = device or queries.emb_TD.device
    values, query_tokens = BLOCKS["cpu" if device.type == "cpu" else "cuda"]
    parts = list(_query_parts(queries, query_tokens, device))
    floors = (
        None if least_T is None else upload(least_T, device).split([len(part.query_TD) for part in parts])
    )
    best: list[Tensor | None] = [None] * len(parts)
    rows: list[Tensor | None] = [None] * len(parts)
    with progress_bar(
        total=len(store), desc=progress, unit="doc", unit_scale=True, disable=not progress
    ) as bar:
        for shard in store.shards:
            for block in document_blocks(shard.lengths_C.tolist(), values // query_tokens):
                lengths = shard.lengths_C[block]
                position_NL = padded_positions(lengths)
                emb_TD = upload(store.read(shard, block.start, block.stop), device)
                padded_TD = emb_TD[upload(position_NL.flatten(), device)]
                block_rows = shard.rows_C[block]
                block_ties, block_rows = upload(ties_C[block_rows], device), upload(block_rows, device)
                for p, part in enumerate(parts):
                    best_TN = (part.query_TD @ padded_TD.T).view(-1, *position_NL.shape).amax(dim=-1)
                    missed_TN = None if floors is None else best_TN < floors[p][:, None] - EQUAL
                    if floors is not None:
                        best_TN = torch.maximum(best_TN, floors[p][:, None])
                    scores = part.sums(best_TN)
                    if missed_TN is not None:
                        counts = part.sums((~missed_TN).to(scores.dtype))
                        scores.masked_fill_(counts == 0, -torch.inf)
                    keys, columns = sort_keys(scores, block_ties), block_rows.expand(len(scores), -1)
                    seen, seen_rows = best[p], rows[p]
                    if seen is not None and seen_rows is not None:
                        keys, columns = torch.cat([seen, keys], dim=1), torch.cat([seen_rows, columns], dim=1)
                    kept, picked = keys.topk(min(k, keys.shape[1]), dim=1)
                    best[p], rows[p] = kept, columns.gather(1, picked)
                bar.update(len(lengths))
    return (
        torch.cat([score_of(keys) for keys in best if keys is not None]).cpu(),
        torch.cat([columns for columns in rows if columns is not None]).cpu(),
    )


@dataclass(frozen=True)
class _QueryPart:
    """Some queries.

    Attributes:
        query_TD: embeddings of their tokens, end to end.
        owner_T: which of the queries each is of.
        mask_BQ: True for as many places of a query as it has tokens.
    """

    query_TD: Tensor
    owner_T: Tensor
    mask_BQ: Tensor

    def sums(self, best_TN: Tensor) -> Tensor:
        """Sum over the tokens of each query [B, N].

        A GPU adds to rows in any order, or sorts them first; so there rows are put side by side, unless one query is
        so much longer than the others that this would take far more memory.
        """
        if best_TN.device.type == "cpu" or self.mask_BQ.numel() > WIDENED * len(best_TN):
            return best_TN.new_zeros(len(self.mask_BQ), best_TN.shape[1]).index_add_(0, self.owner_T, best_TN)
        return query_sums(best_TN, self.mask_BQ, best_TN.dtype)


def _query_parts(queries: PackedEmbeddings, most: int, device: torch.device) -> Iterator[_QueryPart]:
    """Cut queries into parts of at most so many tokens, on a device."""
    start, ends = 0, torch.cumsum(queries.lengths_N, 0).tolist()
    first_token = 0
    for n in range(len(ends)):
        if n + 1 == len(ends) or ends[n + 1] - first_token > most:
            lengths = queries.lengths_N[start : n + 1]
            owner_T = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
            mask_BQ = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
            parts = queries.emb_TD[first_token : ends[n]], owner_T, mask_BQ
            yield _QueryPart(*(upload(part, device) for part in parts))
            start, first_token = n + 1, ends[n]


def document_blocks(sorted_lengths: list[int], tokens: int) -> list[slice]:
    """Cut documents in order of rising length into blocks of at most ``tokens`` padded tokens."""
    blocks, start = [], 0
    for end in range(1, len(sorted_lengths) + 1):
        if end == len(sorted_lengths) or (end + 1 - start) * sorted_lengths[end] > tokens:
            blocks.append(slice(start, end))
            start = end
    return blocks


def rerank(
    queries: PackedEmbeddings,
    store: TokenStore,
    candidates: Sequence[Tensor],
    ties_C: Tensor,
    k: int,
    *,
    device: torch.device | None = None,
    progress: str | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """The k best of each query's candidates, with their MaxSim.

    Args:
        queries: B packed queries.
        store: the documents.
        candidates: rows in the corpus, a query; a query without any gets none.
        ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
        k: how many to keep a query.
        device: where to compute; None takes the queries'.
        progress: title of a progress bar; None shows none.

    Returns:
        For each query, float32 scores and rows, best first.
    """
    device = device or queries.emb_TD.device
    found_scores, found_order = [], []
    query_parts = torch.split(upload(queries.emb_TD, device), queries.lengths_N.tolist())
    bar = progress_bar(total=len(queries), desc=progress, unit="query", disable=not progress)
    for query_TD, found in zip(query_parts, candidates, strict=True):
        if len(found):
            documents = store.documents(found)
            position_NL = padded_positions(documents.lengths_N)
            padded_TD = upload(documents.emb_TD[position_NL.flatten()], device)
            best_QN = (query_TD @ padded_TD.T).view(-1, *position_NL.shape).amax(dim=-1)
            scores = best_QN.sum(dim=0)
            order = sort_keys(scores, upload(ties_C[found], device)).argsort(descending=True)[:k]
            found_scores.append(scores[order])
            found_order.append(order)
        bar.update()
    bar.close()
    kept = [min(k, len(found)) for found in candidates]
    if not found_scores:
        return [torch.empty(0) for _ in candidates], list(candidates)
    # Read at once, so that a GPU is waited for at the end alone.
    all_scores, all_order = (
        torch.cat(found_scores).cpu().split(kept),
        torch.cat(found_order).cpu().split(kept),
    )
    return list(all_scores), [found[order] for found, order in zip(candidates, all_order, strict=True)]


def list_rows(split: Split) -> list[Tensor]:
    """The candidates of each query as row numbers of the corpus, int64 [K], in the order of ``split.queries``."""
    row_of = {name: row for row, name in enumerate(split.corpus.ids)}
    lists: Mapping[str, Sequence[str]] = {query: sorted(split.candidates[query]) for query in split.queries}
    return [torch.tensor([row_of[name] for name in names], dtype=torch.int64) for names in lists.values()]


def search_depth(split: Split, depth: int) -> int:
    """How deep to search so that ``depth`` documents are left when the excluded ones are gone.

    Args:
        split: what is searched.
        depth: documents that a ranking keeps.
    """
    return depth + max(map(len, split.excluded.values()), default=0)


def excluded_rows(split: Split) -> list[Tensor]:
    """The excluded documents of each query as rows of the corpus, int64, in the order of ``split.queries``."""
    row_of = {name: row for row, name in enumerate(split.corpus.ids)} if split.excluded else {}
    gone = [[row_of[d] for d in split.excluded.get(query, ()) if d in row_of] for query in split.queries]
    return [torch.tensor(rows, dtype=torch.int64) for rows in gone]


def without_excluded(ranking: Ranking, excluded: Mapping[str, Collection[str]], depth: int) -> Ranking:
    """Drop the excluded documents of each query, then cut.

    Args:
        ranking: what was retrieved, searched as deep as :func:`search_depth` says.
        excluded: query id to document ids.
        depth: documents that each list keeps.

    Returns:
        The shorter ranking; ``ranking`` itself when nothing is excluded.
    """
    if not excluded:
        return ranking
    documents, scores = [], []
    for query_id, ids, values in zip(ranking.query_ids, ranking.document_ids, ranking.scores, strict=True):
        gone = set(excluded.get(query_id, ()))
        kept = [place for place, name in enumerate(ids) if name not in gone][:depth]
        documents.append([ids[place] for place in kept])
        scores.append([values[place] for place in kept])
    return Ranking(ranking.query_ids, documents, scores)
