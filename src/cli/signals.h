#pragma once

namespace halfsafe {

/// Has signals end the program well. SIGINT, SIGTERM and SIGHUP, unless they were ignored, stop the work at
/// its next safe point; a second one ends the process at once. A mapped file that becomes shorter while it is
/// read (SIGBUS) ends it with a message that names the file. A pipe that nobody reads and a file that may not
/// grow are errors like others. In each case no temporary file is left.
void WatchSignals();

/// What to exit with after an interruption: 128 and the signal, as shells report it.
int InterruptedCode();

}  // namespace halfsafe
