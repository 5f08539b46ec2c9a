"""The declarations of all ops, one file a family: `CONTENTS` says which has which.

A file is imported when `ir.op.OPS` is asked for an op of its.
"""

CONTENTS = {
    "attention": "attention",
    "control": "if loop scan chain",
    "conv": "conv conv_transpose conv_weight_grad",
    "elementwise": (
        "neg abs sign sqrt rsqrt reciprocal square exp expm1 log log1p sin cos tan asin acos atan sinh cosh asinh "
        "acosh atanh floor ceil round erf relu sigmoid tanh softplus softsign leaky_relu elu selu celu gelu silu "
        "mish hard_sigmoid affine scaled_tanh hard_silu thresholded_relu clip log_sigmoid soft_shrink hard_shrink "
        "shrink tanh_shrink squareplus sparse_plus sparse_sigmoid add sub mul div floor_div mod fmod maximum "
        "minimum atan2 bit_and bit_or bit_xor shift_left shift_right logical_and logical_or logical_xor equal "
        "not_equal less less_equal greater greater_equal pow where cast bit_cast logical_not bit_not is_nan is_inf "
        "identity stop_gradient"
    ),
    "index": (
        "gather gather_elements gather_nd scatter_elements scatter_nd scatter_rows one_hot top_k trilu nonzero "
        "compress unique"
    ),
    "linalg": "matmul einsum det inverse cholesky qr svd eigh eig lu solve triangular_solve",
    "ml": "find map_items zip_map tree_ensemble couple_probabilities",
    "norm": "batch_norm layer_norm rms_norm group_norm lrn lp_norm softmax log_softmax hardmax sparsemax",
    "pool": (
        "max_pool max_pool_indices avg_pool max_pool_record max_pool_grad max_pool_pick avg_pool_grad resize "
        "resize_grad"
    ),
    "quant": "quantize dequantize straight_through round_gradient",
    "random": "random_normal random_uniform random_beta",
    "recurrent": "lstm lstm_record gru gru_record rnn rnn_record lstm_grad gru_grad rnn_grad",
    "reduce": (
        "reduce_sum reduce_mean reduce_max reduce_min reduce_prod reduce_variance reduce_l1 reduce_l2 "
        "reduce_sum_square reduce_log_sum reduce_log_sum_exp reduce_any reduce_all sum_like argmax argmin cumsum "
        "cumprod"
    ),
    "sequence": (
        "sequence_empty sequence_construct sequence_at sequence_insert sequence_erase sequence_length "
        "sequence_sizes sequence_zeros sequence_add concat_from_sequence split_to_sequence optional_none "
        "optional_has optional_get"
    ),
    "shape": (
        "reshape transpose squeeze unsqueeze expand concat split slice unslice pad tile repeat reverse_sequence "
        "shape size fill range eye"
    ),
    "signal": "dft",
    "string": (
        "string_normalizer string_concat string_split regex_full_match tf_idf ascii_lower regex_replace regex_find "
        "tokenize string_ngrams string_hash"
    ),
    "vision": "non_max_suppression roi_align grid_sample col2im decode_image",
    "winograd": "winograd_weights winograd_conv winograd_weight_grad",
}
