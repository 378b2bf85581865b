// Piece: the invocations of a workgroup. 64 is a whole number of subgroups on every GPU (8 to 64 invocations, 128 on some
// phones, which run it as half of one), and small enough that one row of activations keeps all of them busy.
const WORKGROUP: u32 = 64u;
