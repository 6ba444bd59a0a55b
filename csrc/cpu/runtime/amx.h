// Whether this process may use AMX's tile registers.
#pragma once

namespace hgfast::cpu {

// The processor multiplies tiles of bfloat16 and int8, the system saves their registers, and Linux grants this process
// their use, which is asked for here: Linux gives the 8 KB of a thread's tiles only to those who ask. Call it once.
bool may_use_tiles();

}  // namespace hgfast::cpu
