// Variables of a thread that every operation reads: constant at the start, and, where the loader lets a library have it,
// at a fixed distance from the thread's pointer instead of behind a call.
#pragma once

#if defined(__linux__) && defined(__ELF__)
#define CR_THREAD_LOCAL constinit thread_local __attribute__((tls_model("initial-exec")))
#else
#define CR_THREAD_LOCAL constinit thread_local
#endif
