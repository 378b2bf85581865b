//! The table of compute shaders: the pieces of shaders/ that each is composed of, and its interface to the host.
//!
//! A piece is a plain WGSL file, and the text of a shader is its pieces one after another, joined at compile time. Text that
//! several shaders share stands in one piece: epilogue, activations and staging of linear layers, storage in f32 or f16, heads
//! of attention, reductions. The first piece of a shader has its entry point or its directives; the others follow in any
//! order, because WGSL looks up names in the whole module. tests/shaders.rs validates every composed text, compares each fact
//! of the table with it, and writes it to target/shaders/NAME.wgsl for editors. The file is long because the table is.

use Access::{Read, Write};

/// How a shader uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// A composed shader and its interface.
pub struct Shader {
    /// Label of its pipelines.
    pub name: &'static str,
    /// The WGSL text.
    pub source: Source,
    /// Invocations of a workgroup, or [`LANES`].
    pub workgroup: u32,
    /// Constants that are set when a pipeline is made, in the order in which a dispatch lists their values.
    pub overrides: &'static [&'static str],
    /// Group 0: activations and lists, in the order of their bindings.
    pub activations: &'static [Access],
    /// Group 1: weights, likewise.
    pub weights: &'static [Access],
}

/// A composed text.
pub struct Source {
    /// Names of the pieces below shaders/, without their ending.
    pub pieces: &'static [&'static str],
    /// The pieces one after another.
    pub text: &'static str,
}

/// Composes pieces. A piece with directives (`enable`) must be the first, because WGSL wants them before all declarations.
macro_rules! compose {
    ($($piece:literal),+) => {
        Source {
            pieces: &[$($piece),+],
            text: concat!($(include_str!(concat!("../../shaders/", $piece, ".wgsl")), "\n"),+),
        }
    };
}

/// Invocations of most workgroups; shaders/shared/workgroup.wgsl has the reason.
pub const WORKGROUP: u32 = 64;
/// In place of a number of invocations: the override LANES says how many.
pub const LANES: u32 = 0;

const LINEAR_F32: &[&str] = &["K", "N", "ACTIVATION", "ADD_RESIDUAL"];
const LINEAR_F16: &[&str] = &["K", "N", "ACTIVATION", "ADD_RESIDUAL", "OUT_F16"];
const LINEAR_COOP: &[&str] = &["K", "N", "ACTIVATION", "ADD_RESIDUAL", "OUT_F16", "LANES"];

/// Index into [`SHADERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Sums of table rows, normalized.
    EmbedNorm,
    /// Linear layers in f32, by tiles of 32 x 32.
    LinearSmall,
    /// Linear layers in f32, by tiles of 64 x 64.
    LinearMedium,
    /// Linear layers in f32, by tiles of 128 x 128.
    LinearLarge,
    /// Linear layers that read f16, by tiles of 32 x 32.
    LinearSmallF16,
    /// Linear layers that read f16, by tiles of 64 x 64.
    LinearMediumF16,
    /// Linear layers that read f16, by tiles of 128 x 128.
    LinearLargeF16,
    /// Linear layers that read f16, by cooperative matrices of 8 x 8.
    LinearCoop8,
    /// Linear layers that read f16, by cooperative matrices of 16 x 16.
    LinearCoop16,
    /// f32 rounded to f16.
    RoundF16,
    /// f16 widened to f32.
    WidenF16,
    /// Layer norm.
    Norm,
    /// Attention by content alone, for heads of 32 columns.
    Attention32,
    /// Attention by content alone, for heads of 64 columns.
    Attention64,
    /// Attention for heads of any number of columns up to 128, with or without a window, a bias or relative positions.
    AttentionGeneral,
    /// Rotary position embedding.
    Rotate,
    /// Gated activations.
    Gate,
    /// One row for each sequence.
    Pool,
    /// The first row of each sequence.
    FirstTokens,
    /// Attention for first tokens, step 1 of 4.
    FirstBack,
    /// Attention for first tokens, step 2 of 4.
    FirstScores,
    /// Attention for first tokens, step 3 of 4.
    FirstMix,
    /// Attention for first tokens, step 4 of 4.
    FirstOut,
}

impl Kernel {
    /// The shader.
    pub fn shader(self) -> &'static Shader {
        &SHADERS[self as usize]
    }
}

/// In the order of [`Kernel`].
pub const SHADERS: [Shader; 23] = [
    Shader {
        name: "embed_norm",
        source: compose!(
            "embed_norm",
            "shared/normalize",
            "shared/workgroup",
            "shared/sum4",
            "shared/reduce"
        ),
        workgroup: WORKGROUP,
        overrides: &["HIDDEN", "ROW4", "EPSILON"],
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "linear_small",
        source: compose!(
            "linear/tile_32",
            "linear/storage_f32",
            "linear/staging",
            "linear/epilogue",
            "shared/activate"
        ),
        workgroup: 64,
        overrides: LINEAR_F32,
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "linear_medium",
        source: compose!(
            "linear/tile_64",
            "linear/storage_f32",
            "linear/staging",
            "linear/epilogue",
            "shared/activate"
        ),
        workgroup: 128,
        overrides: LINEAR_F32,
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "linear_large",
        source: compose!(
            "linear/tile_128",
            "linear/storage_f32",
            "linear/staging",
            "linear/epilogue",
            "shared/activate"
        ),
        workgroup: 256,
        overrides: LINEAR_F32,
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "linear_small_f16",
        source: compose!(
            "linear/tile_32",
            "linear/storage_f16",
            "shared/widen_f16",
            "linear/output_f16",
            "shared/round_f16",
            "linear/staging",
            "linear/epilogue",
            "shared/activate"
        ),
        workgroup: 64,
        overrides: LINEAR_F16,
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "linear_medium_f16",
        source: compose!(
            "linear/tile_64",
            "linear/storage_f16",
            "shared/widen_f16",
            "linear/output_f16",
            "shared/round_f16",
            "linear/staging",
            "linear/epilogue",
            "shared/activate"
        ),
        workgroup: 128,
        overrides: LINEAR_F16,
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "linear_large_f16",
        source: compose!(
            "linear/tile_128",
            "linear/storage_f16",
            "shared/widen_f16",
            "linear/output_f16",
            "shared/round_f16",
            "linear/staging",
            "linear/epilogue",
            "shared/activate"
        ),
        workgroup: 256,
        overrides: LINEAR_F16,
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "linear_coop_8",
        source: compose!(
            "linear/coop_8",
            "linear/coop",
            "linear/output_f16",
            "shared/round_f16",
            "linear/epilogue",
            "shared/activate"
        ),
        workgroup: LANES,
        overrides: LINEAR_COOP,
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "linear_coop_16",
        source: compose!(
            "linear/coop_16",
            "linear/coop",
            "linear/output_f16",
            "shared/round_f16",
            "linear/epilogue",
            "shared/activate"
        ),
        workgroup: LANES,
        overrides: LINEAR_COOP,
        activations: &[Read, Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "round_f16",
        source: compose!("round_f16", "shared/workgroup", "shared/round_f16"),
        workgroup: WORKGROUP,
        overrides: &["ROW4"],
        activations: &[Read, Write],
        weights: &[],
    },
    Shader {
        name: "widen_f16",
        source: compose!("widen_f16", "shared/workgroup", "shared/widen_f16"),
        workgroup: WORKGROUP,
        overrides: &["ROW4"],
        activations: &[Read, Write],
        weights: &[],
    },
    Shader {
        name: "norm",
        source: compose!("norm", "shared/normalize", "shared/workgroup", "shared/sum4", "shared/reduce"),
        workgroup: WORKGROUP,
        overrides: &["HIDDEN", "ROW4", "EPSILON"],
        activations: &[Read, Write],
        weights: &[Read, Read],
    },
    Shader {
        name: "attention_32",
        source: compose!(
            "attention/main",
            "attention/head_32",
            "attention/columns_32",
            "shared/workgroup",
            "shared/sum4",
            "shared/softmax",
            "shared/query_block"
        ),
        workgroup: WORKGROUP,
        overrides: &["HIDDEN4"],
        activations: &[Read, Read, Write],
        weights: &[],
    },
    Shader {
        name: "attention_64",
        source: compose!(
            "attention/main",
            "attention/head_64",
            "attention/columns_32",
            "shared/workgroup",
            "shared/sum4",
            "shared/softmax",
            "shared/query_block"
        ),
        workgroup: WORKGROUP,
        overrides: &["HIDDEN4"],
        activations: &[Read, Read, Write],
        weights: &[],
    },
    Shader {
        name: "attention_general",
        source: compose!(
            "attention/general",
            "shared/workgroup",
            "shared/reduce",
            "shared/softmax",
            "shared/query_block"
        ),
        workgroup: WORKGROUP,
        overrides: &["HEAD_DIM", "HIDDEN", "QKV_COLS", "OUT_COLS", "MAX_DISTANCE", "RADIUS", "SCORE_MOD"],
        activations: &[Read, Read, Write],
        weights: &[Read, Read, Read],
    },
    Shader {
        name: "rotate",
        source: compose!("rotate", "shared/workgroup", "shared/query_block"),
        workgroup: WORKGROUP,
        overrides: &["PAIRS", "HEADS", "QKV_COLS"],
        activations: &[Write, Read],
        weights: &[Read],
    },
    Shader {
        name: "gate",
        source: compose!("gate", "shared/workgroup", "shared/activate"),
        workgroup: WORKGROUP,
        overrides: &["COLS", "X_COLS", "OUT_COLS", "ACTIVATION"],
        activations: &[Read, Write],
        weights: &[],
    },
    Shader {
        name: "pool",
        source: compose!("pool", "shared/workgroup", "shared/sequence"),
        workgroup: WORKGROUP,
        overrides: &["ROW4", "POOL"],
        activations: &[Read, Read, Write],
        weights: &[],
    },
    Shader {
        name: "first_tokens",
        source: compose!("first_tokens", "shared/workgroup", "shared/sequence"),
        workgroup: WORKGROUP,
        overrides: &["ROW4"],
        activations: &[Read, Read, Write],
        weights: &[],
    },
    Shader {
        name: "first_back",
        source: compose!("first_back", "shared/workgroup", "shared/sequence_block"),
        workgroup: WORKGROUP,
        overrides: &["HEAD_DIM", "HEADS", "ROW4"],
        activations: &[Read, Write],
        weights: &[Read],
    },
    Shader {
        name: "first_scores",
        source: compose!(
            "first_scores",
            "shared/workgroup",
            "shared/sum4",
            "shared/reduce",
            "shared/softmax",
            "shared/sequence"
        ),
        workgroup: WORKGROUP,
        overrides: &["HEADS", "ROW4"],
        activations: &[Read, Read, Read, Write],
        weights: &[],
    },
    Shader {
        name: "first_mix",
        source: compose!("first_mix", "shared/workgroup", "shared/sequence"),
        workgroup: WORKGROUP,
        overrides: &["HEADS", "ROW4"],
        activations: &[Read, Read, Read, Write],
        weights: &[],
    },
    Shader {
        name: "first_out",
        source: compose!("first_out", "shared/workgroup", "shared/sum4", "shared/sequence_block"),
        workgroup: WORKGROUP,
        overrides: &["HEAD_DIM", "HEADS", "ROW4"],
        activations: &[Read, Write],
        weights: &[Read, Read],
    },
];

/// The tile of a linear shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// 32 x 32.
    Small,
    /// 64 x 64.
    Medium,
    /// 128 x 128.
    Large,
}

impl Tile {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The largest tile that leaves no more than half of its last row of tiles empty, and enough tiles for a GPU's cores.
    pub fn for_rows(rows: usize) -> Self {
        match rows {
            0..=64 => Self::Small,
            65..=1023 => Self::Medium,
            _ => Self::Large,
        }
    }

    /// Rows and columns.
    pub fn side(self) -> usize {
        match self {
            Self::Small => 32,
            Self::Medium => 64,
            Self::Large => 128,
        }
    }

    /// Its shader: the one that reads f16, or the one that reads f32.
    pub fn kernel(self, reads_f16: bool) -> Kernel {
        match (self, reads_f16) {
            (Self::Small, false) => Kernel::LinearSmall,
            (Self::Medium, false) => Kernel::LinearMedium,
            (Self::Large, false) => Kernel::LinearLarge,
            (Self::Small, true) => Kernel::LinearSmallF16,
            (Self::Medium, true) => Kernel::LinearMediumF16,
            (Self::Large, true) => Kernel::LinearLargeF16,
        }
    }
}
