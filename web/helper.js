// A thread that does parts of the decoder's tasks. It hears one message, and then only what is in shared memory.

import { help } from "./threads.js";

onmessage = ({ data }) => help(data);
