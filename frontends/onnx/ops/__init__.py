"""The operators of ONNX, lowered: one file a family: `CONTENTS` says which has which.

A file is imported when `registry.ROWS` is asked for an operator of its.
"""

# domain: file: operators
CONTENTS: dict[str, dict[str, str]] = {
    "": {
        "attention": "Attention",
        "contrib": "SimplifiedLayerNormalization",
        "contrib_other": "Affine Scale ScaledTanh ParametricSoftplus ImageScaler Crop DynamicSlice",
        "control": "If Loop Scan",
        "conv": "Conv CausalConvWithState ConvTranspose",
        "index": (
            "Gather GatherElements GatherND Scatter ScatterElements ScatterND TensorScatter OneHot TopK Trilu "
            "NonZero Compress Unique"
        ),
        "linalg": "MatMul Gemm Einsum Det",
        "math": (
            "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Cos Cosh Erf Exp Floor HardSwish IsNaN Log Mish "
            "Neg Not Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh LeakyRelu Elu Selu "
            "Celu HardSigmoid ThresholdedRelu Shrink Gelu Swish PRelu Clip IsInf Cast BitCast CastLike Add Sub Mul "
            "Div Pow And Or Xor Equal Greater Less GreaterOrEqual LessOrEqual BitwiseAnd BitwiseOr BitwiseXor Mod "
            "BitShift Where Max Min Sum Mean Identity Dropout Constant ConstantOfShape EyeLike Range"
        ),
        "norm": (
            "BatchNormalization InstanceNormalization GroupNormalization LayerNormalization "
            "MeanVarianceNormalization RMSNormalization LRN LpNormalization Softmax LogSoftmax Hardmax"
        ),
        "pool": "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool MaxUnpool Resize Upsample",
        "quant": "QuantizeLinear DequantizeLinear MatMulInteger QLinearMatMul ConvInteger QLinearConv",
        "random": "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial",
        "recurrent": "LSTM GRU RNN",
        "reduce": (
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
            "ReduceSumSquare ArgMax ArgMin CumSum CumProd"
        ),
        "sequence": (
            "SequenceEmpty SequenceConstruct SequenceAt SequenceInsert SequenceErase SequenceLength "
            "ConcatFromSequence SplitToSequence Optional OptionalHasElement OptionalGetElement"
        ),
        "shape": (
            "Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Pad Tile Expand Shape Size DepthToSpace "
            "SpaceToDepth ReverseSequence"
        ),
        "signal": "DFT STFT MelWeightMatrix",
        "string": "StringNormalizer StringConcat StringSplit RegexFullMatch TfIdfVectorizer",
        "vision": "NonMaxSuppression ImageDecoder RoiAlign GridSample AffineGrid Col2Im DeformConv MaxRoiPool",
    },
    "com.microsoft": {
        "contrib": (
            "FusedConv FusedGemm FusedMatMul TransposeMatMul SparseToDenseMatMul CausalConvWithState Gelu BiasGelu "
            "FastGelu GemmFastGelu QuickGelu ScaledSiLU BiasSplitGelu BiasAdd BiasDropout BiasSoftmax "
            "SkipLayerNormalization SkipSimplifiedLayerNormalization EmbedLayerNormalization GroupNorm "
            "SkipGroupNorm GatedRMSNorm GatedAdd"
        ),
        "contrib_attention": "Attention MultiHeadAttention RotaryEmbedding GroupQueryAttention",
        "contrib_devices": (
            "NhwcConv NhwcFusedConv FusedMatMulActivation ComplexMul ComplexMulConj SwiGLU IsAllFinite "
            "ReduceSumInteger TorchEmbedding GemmaRotaryEmbedding RelativePositionBias GatedRelativePositionBias"
        ),
        "contrib_other": (
            "Inverse Pad Range Trilu GatherND GridSample ExpandDims Unique SampleOp MulInteger "
            "ConvTransposeWithDynamicPads CDist UnfoldTensor NGramRepeatBlock CropAndResize MurmurHash3 Rfft Irfft "
            "MoE LinearAttentionGate LinearAttention"
        ),
        "contrib_quant": (
            "QuantizeLinear DequantizeLinear QLinearAdd QLinearMul QLinearSigmoid QLinearLeakyRelu QLinearSoftmax "
            "QLinearConcat QLinearWhere QLinearReduceMean QLinearAveragePool QLinearGlobalAveragePool NhwcMaxPool "
            "QLinearConv DynamicQuantizeMatMul MatMulIntegerToFloat MatMulInteger16 QGemm QAttention MatMulNBits "
            "MatMulBnb4 GatherBlockQuantized DynamicQuantizeLSTM"
        ),
        "string": "Tokenizer",
    },
    "ai.onnx.ml": {
        "ml": (
            "ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer Scaler Normalizer LabelEncoder "
            "CategoryMapper OneHotEncoder CastMap DictVectorizer ZipMap LinearRegressor LinearClassifier "
            "SVMRegressor SVMClassifier"
        ),
        "trees": "TreeEnsembleRegressor TreeEnsembleClassifier TreeEnsemble",
    },
    "ai.onnx.preview.training": {
        "training": "Gradient Adagrad Momentum Adam",
    },
}
