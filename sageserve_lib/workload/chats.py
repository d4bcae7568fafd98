"""Chats of many turns: from turns and lengths, as a benchmark client writes them down, to sessions with prefix blocks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.traces import schema

#: An answer goes back to the server as text, and text can be cut into tokens in more than one way: after the first token
#: that comes out otherwise nothing of the answer is found. One token in so many did, seen one request at a time
#: (62 of 870 answers, 590 tokens at the mean) in the first of SemiAnalysis' runs: Llama-3.3-70B-FP4 on B200, vLLM 0.15.0,
#: 1 GPU, 16 clients (InferenceX 2582608b105a, Apache-2.0), where in an answer they are being anywhere. The hits of all six
#: runs say one in 7 900 to 10 600.
TOKENS_UNTIL_CHANGED = 8_000.0


@dataclass(frozen=True)
class ChatTemplate:
    """Tokens that a server puts around the texts of messages, which clients do not count.

    Attributes
    ----------
    opening_tokens : int
        Before the first message, the same in every conversation, and before the answer.
    message_tokens : int
        Around every message.
    """

    opening_tokens: int = 0
    message_tokens: int = 0


#: Prompts of lengths that a server counted.
NO_TEMPLATE = ChatTemplate()
#: Llama 3.1 to 3.3 without a system prompt of one's own: begin of text, a system message with two dates, and the headers.
#: The prompts that the servers counted in the six runs above are the clients' with these to 0.15 %.
LLAMA_3 = ChatTemplate(opening_tokens=30, message_tokens=5)


def chats(
    frame: pd.DataFrame,
    block_tokens: int = 16,
    template: ChatTemplate = NO_TEMPLATE,
    tokens_until_changed: float = TOKENS_UNTIL_CHANGED,
    seed: int = 0,
) -> pd.DataFrame:
    """Requests of chats, each with the blocks of its conversation so far.

    A client's conversation goes on while its turn rises. A prompt holds the whole conversation: where it is not shorter
    than the prompt and the answer before, it begins with them; else nothing but the template's opening is the same.
    As in vLLM only full blocks have an id, and the last token of an answer is not in memory.

    Parameters
    ----------
    frame : DataFrame
        Requests in the order in which they were sent: client, turn, prompt_tokens (the whole prompt's), output_tokens.
    block_tokens : int
        Tokens of a block.
    template : ChatTemplate
        What the server puts around messages; a prompt holds two of them more with each turn.
    tokens_until_changed : float
        Mean tokens until an answer comes back cut into other tokens; ``inf`` where clients send tokens back.
    seed : int
        Decides which answers do.

    Returns
    -------
    DataFrame
        One row for each of ``frame``'s, in its order: those of a trace's columns that it has, session, prompt_tokens
        (with the template), output_tokens, prefix_blocks (arrays of int64: the prompt's ids, then those of what the
        answer fills).

    Examples
    --------
    >>> turns = pd.DataFrame({"client": 0, "turn": [1, 3], "prompt_tokens": [20, 50], "output_tokens": [13, 40]})
    >>> [ids.tolist() for ids in chats(turns, tokens_until_changed=float("inf"))["prefix_blocks"]]
    [[0, 1], [0, 1, 2, 3, 4]]
    """
    ordinal, turns_before = _conversations(frame)
    added = template.opening_tokens + template.message_tokens * (2 * turns_before + 1)
    prompts = np.maximum(frame["prompt_tokens"].to_numpy(np.int64) + added, 1)
    outputs = frame["output_tokens"].to_numpy(np.int64)
    unchanged = np.full(len(frame), np.inf)
    if np.isfinite(tokens_until_changed):
        unchanged = np.random.default_rng(seed).exponential(tokens_until_changed, len(frame))
    # What comes back as it was: of a conversation the tokens of prompt and answer, but for the answer's last one.
    kept = prompts + np.minimum(np.floor(unchanged), outputs - 1).astype(np.int64)
    opening = np.arange(template.opening_tokens // block_tokens, dtype=np.int64)
    blocks: list[np.ndarray] = []
    before: dict[int, int] = {}  # the last row of each conversation
    next_id = len(opening)
    for row, conversation in enumerate(ordinal):
        known, last = opening, before.get(conversation)
        if last is not None and prompts[row] >= prompts[last] + outputs[last]:
            known = blocks[last][: kept[last] // block_tokens]
        count = (prompts[row] + outputs[row] - 1) // block_tokens
        new = max(int(count) - len(known), 0)
        blocks.append(np.concatenate([known[:count], np.arange(next_id, next_id + new, dtype=np.int64)]))
        next_id += new
        before[conversation] = row
    there = [name for name in (*schema.COLUMNS, *schema.OPTIONAL) if name in frame.columns]
    result = frame[there].assign(prompt_tokens=prompts.astype(np.int32), output_tokens=outputs.astype(np.int32))
    result["session"] = [f"chat-{n}" for n in ordinal]
    result["prefix_blocks"] = pd.Series(blocks, index=frame.index, dtype=object)
    return result


def _conversations(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Of every row: the ordinal of its conversation, by first rows; and how many turns that had before."""
    begins = ~(frame.groupby("client", sort=False)["turn"].diff() > 0)
    of_client = begins.groupby(frame["client"], sort=False).cumsum()
    groups = pd.DataFrame({"client": frame["client"], "conversation": of_client}).groupby(
        ["client", "conversation"], sort=False
    )
    return groups.ngroup().to_numpy(), groups.cumcount().to_numpy()
