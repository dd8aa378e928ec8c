/** All seeds in one process, until the first that goes wrong: for mutants, of which several are tried side by side. */

import { hunt } from './hunt.ts'

hunt(0, 1)
