#include "probe.h"

HG_PROBE_EXPORT const char* probe_last_error() { return probe_error(); }
