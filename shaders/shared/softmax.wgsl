// Piece: constants of every softmax.

// exp2 is the instruction that the hardware has, so scores are kept in units of ln 2: multiplied by log2(e).
const LOG2_E = 1.442695;
// The maximum of no scores. Not infinity, whose differences are NaN and which fast arithmetic may assume away.
const NEG_INF = -1e30;
