// Piece: the sequences that a workgroup of attention for first tokens has at once. Each weight is read once for all of
// them, and four sums fit into the registers of every GPU.
const SEQUENCES: u32 = 4u;
