"""The student: tokens, backbone, head, embeddings of every token, MaxSim, and GradCache's chunks.

Comes in: texts, weights, settings of the student. Goes out: token ids, embeddings, scores.
May import: ``base``, ``text``.
"""
