/**
 * For tests that hold a figure of time or memory against a machine that others may use as well. What such a machine does
 * for a moment spoils one try; what the program does wrong spoils each of the three.
 */
export const MEASURED = { retry: 2 }
