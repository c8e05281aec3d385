"""CLIP4Clip's sequential temporal head, "seqTransf" (arXiv 2104.08860): a transformer over a video's frame embeddings.

    z   = T([x_1 + p_1, .., x_F + p_F])         keys of padded frames masked
    v_f = (x_f + z_f) / 2

x_f is frame f's embedding behind `visual_projection`, p_f a learned position, T a pre-norm transformer of the width of
the embeddings. Then pooling goes on as with every method: each v_f normalised, mean over real frames. CLIP4Clip has the
sum and not the mean of both, which the normalisation makes the same.

Its start copies the first layers and positions of CLIP's text encoder (`init="clip"`). With `init="identity"` what the
blocks add and the positions are zero: z = x, and a fresh head changes nothing.

The head goes with any way to adapt the encoders, which `method` names: both are one adapter, in one file, behind one
name. PEFT has no place for that: its models hold one method, `PeftMixedModel` cannot be saved, and `modules_to_save`
names what the base model already has, so that a saved adapter would not say what head it needs.
"""

from ...imports import load_lazily

load_lazily(__name__)
