/** An authority and certificates with every fault that one can have, made by openssl when a test asks for them. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Certified {
  readonly key: string
  /** The certificate and, after it, those between it and the authority. */
  readonly cert: string
}

export interface Certificates {
  /** What a test trusts. */
  readonly authority: string
  readonly good: Certified
  readonly selfSigned: Certified
  readonly wrongName: Certified
  readonly expired: Certified
  readonly notYetValid: Certified
  /** By an authority that nobody trusts. */
  readonly unknownAuthority: Certified
  /** Signed by an intermediate authority which the server does not send along. */
  readonly incompleteChain: Certified
}

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0

const NAME = 'receiver.test'
const CA_SETTINGS = `
[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:true
keyUsage = keyCertSign
[leaf]
basicConstraints = CA:false
subjectAltName = DNS:\${ENV::SUBJECT}
`

export function makeCertificates(): Certificates {
  const folder = mkdtempSync(join(tmpdir(), 'ringback-certificates-'))
  try {
    return makeIn(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function makeIn(folder: string): Certificates {
  writeFileSync(join(folder, 'ca.cnf'), CA_SETTINGS)
  writeFileSync(join(folder, 'index.txt'), '')
  const text = (name: string) => readFileSync(join(folder, name), 'utf8')
  function openssl(subject: string, ...args: string[]): void {
    execFileSync('openssl', args, { cwd: folder, env: { ...process.env, SUBJECT: subject }, stdio: 'pipe' })
  }
  function key(name: string): void {
    openssl(NAME, 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', `${name}.key`)
  }
  function selfSigned(name: string, subject: string, section: string): void {
    key(name)
    const subjectAndLife = ['-subj', `/CN=${subject}`, '-days', '2', '-extensions', section]
    openssl(
      subject,
      'req',
      '-x509',
      '-config',
      'ca.cnf',
      '-new',
      '-key',
      `${name}.key`,
      ...subjectAndLife,
      '-out',
      `${name}.pem`,
    )
  }
  function signed(name: string, by: string, { subject = NAME, section = 'leaf', from = '', to = '' } = {}): void {
    const life = from === '' ? ['-days', '1'] : ['-startdate', from, '-enddate', to]
    const request = ['-key', `${name}.key`, '-subj', `/CN=${subject}`, '-out', `${name}.csr`]
    openssl(subject, 'req', '-new', '-config', 'ca.cnf', ...request)
    const authority = ['-cert', `${by}.pem`, '-keyfile', `${by}.key`]
    const result = ['-extensions', section, ...life, '-in', `${name}.csr`, '-out', `${name}.pem`]
    openssl(subject, 'ca', '-batch', '-notext', '-config', 'ca.cnf', ...authority, ...result)
  }
  function leaf(name: string, by: string, options: Parameters<typeof signed>[2] = {}): Certified {
    key(name)
    signed(name, by, options)
    return { key: text(`${name}.key`), cert: text(`${name}.pem`) }
  }

  selfSigned('authority', 'authority', 'authority')
  selfSigned('stranger', 'stranger', 'authority')
  selfSigned('alone', NAME, 'leaf')
  key('between')
  signed('between', 'authority', { subject: 'between', section: 'authority' })
  return {
    authority: text('authority.pem'),
    good: leaf('good', 'authority'),
    selfSigned: { key: text('alone.key'), cert: text('alone.pem') },
    wrongName: leaf('wrong', 'authority', { subject: 'other.test' }),
    expired: leaf('expired', 'authority', { from: '20240101000000Z', to: '20250101000000Z' }),
    notYetValid: leaf('early', 'authority', { from: '20990101000000Z', to: '21000101000000Z' }),
    unknownAuthority: leaf('unknown', 'stranger'),
    incompleteChain: leaf('gap', 'between'),
  }
}
