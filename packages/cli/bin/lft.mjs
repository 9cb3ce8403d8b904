#!/usr/bin/env node
// A file that exists before the build, so that an install can link the command.
import '../dist/lft.js';
