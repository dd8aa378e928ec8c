/** Callback URLs that lead to where no webhook may go, by the way in which they say so. */

/** Dotted decimal → four numbers. */
const octetsOf = (address: string) => address.split('.').map(Number)
const numberOf = (octets: readonly number[]) => octets.reduce((sum, octet) => sum * 256 + octet, 0)
const hexOf = (octets: readonly number[]) => octets.map((octet) => octet.toString(16).padStart(2, '0')).join('')
const mapDigits = (text: string, map: (digit: number) => string) => text.replace(/\d/g, (digit) => map(Number(digit)))

type Spell = (octets: readonly number[]) => string

/** How the URL standard lets one IPv4 address be written. */
const IPV4_SPELLINGS: Readonly<Record<string, Spell>> = {
  plain: (o) => o.join('.'),
  'with a dot at the end': (o) => `${o.join('.')}.`,
  'one decimal number': (o) => String(numberOf(o)),
  'one hexadecimal number': (o) => `0x${hexOf(o)}`,
  'one octal number': (o) => `0${numberOf(o).toString(8)}`,
  'hexadecimal parts': (o) => o.map((octet) => `0X${octet.toString(16)}`).join('.'),
  'octal parts': (o) => o.map((octet) => `00${octet.toString(8)}`).join('.'),
  'mixed parts': (o) => `0x${o[0]!.toString(16)}.0${o[1]!.toString(8)}.${o[2]}.${o[3]}`,
  'two parts': (o) => `${o[0]}.${numberOf(o.slice(1))}`,
  'three parts': (o) => `${o[0]}.${o[1]}.${numberOf(o.slice(2))}`,
  'full-width digits': (o) => mapDigits(o.join('.'), (digit) => String.fromCodePoint(0xff10 + digit)),
  'circled digits': (o) =>
    mapDigits(o.join('.'), (digit) => (digit === 0 ? '⓪' : String.fromCodePoint(0x245f + digit))),
  'mathematical digits': (o) => mapDigits(o.join('.'), (digit) => String.fromCodePoint(0x1d7ce + digit)),
  'ideographic dots': (o) => o.join('。'),
  'percent encoding': (o) => mapDigits(o.join('.'), (digit) => `%3${digit}`),
  'a soft hyphen inside': (o) => o.join('.').replace('.', '\u00ad.'),
  'a tab and a line break inside': (o) => o.join('.').replace('.', '\t.\n'),
}

/** Four bytes at a bit of an IPv6 address, after a prefix; the byte at bit 64 stays zero as RFC 6052 wants it. */
function rfc6052(prefix: string, bits: 32 | 40 | 48 | 56 | 64 | 96): Spell {
  return (octets) => {
    const bytes = Buffer.alloc(16)
    Buffer.from(prefix.replaceAll(':', ''), 'hex').copy(bytes)
    let at = bits / 8
    for (const octet of octets) {
      if (at === 8) at += 1
      bytes[at] = octet
      at += 1
    }
    return bracketed(bytes)
  }
}

function bracketed(bytes: Buffer): string {
  return `[${bytes
    .toString('hex')
    .match(/.{4}/g)!
    .map((part) => part.replace(/^0{1,3}/, ''))
    .join(':')}]`
}

const halves = (octets: readonly number[]) => `${hexOf(octets.slice(0, 2))}:${hexOf(octets.slice(2))}`
const inverted = (octets: readonly number[]) => octets.map((octet) => 255 - octet)

/** IPv6 addresses that are an IPv4 address in another shape. */
const EMBEDDINGS: Readonly<Record<string, Spell>> = {
  'mapped, with dots': (o) => `[::ffff:${o.join('.')}]`,
  'mapped, in hexadecimal': (o) => `[::ffff:${halves(o)}]`,
  'mapped, in full': (o) => `[0:0:0:0:0:ffff:${halves(o)}]`,
  'mapped, upper case': (o) => `[::FFFF:${halves(o).toUpperCase()}]`,
  compatible: (o) => `[::${o.join('.')}]`,
  'compatible, in hexadecimal': (o) => `[::${halves(o)}]`,
  'translated (SIIT)': (o) => `[::ffff:0:${o.join('.')}]`,
}

/** IPv6 addresses that carry an IPv4 address to a machine which sends on to it. */
const TUNNELS: Readonly<Record<string, Spell>> = {
  'NAT64, well-known prefix': (o) => `[64:ff9b::${o.join('.')}]`,
  'NAT64, well-known prefix, in hexadecimal': (o) => `[64:ff9b::${halves(o)}]`,
  'NAT64, position /32': rfc6052('0064:ff9b', 32),
  'NAT64, position /40': rfc6052('0064:ff9b:00', 40),
  'NAT64, local prefix, position /48': rfc6052('0064:ff9b:0001', 48),
  'NAT64, local prefix, position /56': rfc6052('0064:ff9b:0001:00', 56),
  'NAT64, local prefix, position /64': rfc6052('0064:ff9b:0001:0000', 64),
  'NAT64, local prefix, position /96': rfc6052('0064:ff9b:0001:abcd:0000:0000', 96),
  '6to4': (o) => `[2002:${halves(o)}::1]`,
  'Teredo, as its client': (o) => `[2001:0:4136:e378:8000:63bf:${halves(inverted(o))}]`,
  'Teredo, as its server': (o) => `[2001:0:${halves(o)}::1]`,
  'ISATAP, global prefix': (o) => `[2606:4700:1:2:0:5efe:${halves(o)}]`,
  'ISATAP, global prefix and a public address': (o) => `[2606:4700:1:2:200:5efe:${halves(o)}]`,
  'ISATAP, link-local': (o) => `[fe80::5efe:${o.join('.')}]`,
}

export interface Vector {
  /** The entry of docs/faults.md. */
  readonly fault: string
  readonly how: string
  readonly url: string
  readonly code: string
}

function each(fault: string, how: string, hosts: readonly string[]): readonly Vector[] {
  return hosts.map((host) => ({ fault, how, url: `https://${host}/hook`, code: 'blocked_address' }))
}

function spelled(fault: string, table: Readonly<Record<string, Spell>>, addresses: readonly string[]) {
  return addresses.flatMap((address) =>
    Object.entries(table).flatMap(([how, spell]) => each(fault, `${address}, ${how}`, [spell(octetsOf(address))])),
  )
}

const METADATA_HOSTS = [
  ...['169.254.170.2', '169.254.170.23', '168.63.129.16', '100.100.100.200', '192.0.0.192'],
  ...['[fd00:ec2::254]', '[fd00:ec2::23]', '[fd20:ce::254]', '0xa83f8110'],
  ...['metadata.google.internal', 'METADATA.GOOGLE.INTERNAL.', 'metadata', 'metadata.goog', 'instance-data'],
]

const SPECIAL_HOSTS = [
  ...['0.1.2.3', '10.0.0.0', '10.255.255.255', '100.64.0.0', '100.127.255.255', '127.255.255.254', '169.254.0.1'],
  ...['172.16.0.0', '172.31.255.255', '192.0.0.1', '192.0.0.170', '192.0.2.1', '192.88.99.1', '192.168.255.255'],
  ...['198.18.0.0', '198.19.255.255', '198.51.100.7', '203.0.113.9', '224.0.0.1', '239.255.255.250', '240.0.0.1'],
  ...['255.255.255.255', '[::]', '[::1]', '[0:0:0:0:0:0:0:1]', '[100::1]', '[100:0:0:1::1]', '[64:ff9b:2::1]'],
  ...['[2001:2::1]', '[2001:10::1]', '[2001:20::1]', '[2001:1ff:ffff::1]', '[2001:db8::1]', '[3fff:fff::1]'],
  ...['[4000::1]', '[5f00::1]', '[6000::1]', '[8000::1]', '[e000::1]', '[fc00::1]', '[fdff::1]', '[fe80::1]'],
  ...['[febf::1]', '[fec0::1]', '[feff::1]', '[ff02::1]', '[ff0e::1]', '[1::1]', '[::2]', '[::1:0:0]'],
]

const PRIVATE_NAMES = [
  ...['localhost', 'localhost.', 'LOCALHOST', 'foo.localhost', 'a.b.localhost.', 'ｌocalhost', 'loc\u00adalhost'],
  ...['router.local', 'db.internal', 'printer.home.arpa', 'x.onion', 'redis', 'REDIS.', 'kubernetes', '.', '..'],
]

const refused = (fault: string, code: string, urls: readonly string[]): readonly Vector[] =>
  urls.map((url) => ({ fault, how: 'by its text', url, code }))

const OTHER_TEXTS: readonly Vector[] = [
  ...refused('F63', 'userinfo', [
    ...['https://user:pass@receiver.example/', 'https://a@127.0.0.1/', 'https://:@@receiver.example/x'],
    ...['https://receiver.example%40@127.0.0.1/', 'https://169.254.169.254\u3002@127.0.0.1/'],
  ]),
  ...refused('F63', 'blocked_address', [
    ...['https://127.0.0.1#@receiver.example/', 'https://127.0.0.1?@receiver.example/', 'https:\\\\127.0.0.1\\'],
    ...['https:127.0.0.1/', 'https:///127.0.0.1/', 'https://127.0.0.1\\@receiver.example/', ' https://127.0.0.1 '],
  ]),
  ...refused('F63', 'too_long', [
    `https://${'a.'.repeat(1_500)}example/`,
    `https://receiver.example/${'a'.repeat(2_048)}`,
  ]),
  ...refused('F63', 'not_a_url', [
    'https://[fe80::1%25lo]/',
    'https://[::1',
    'https://256.256.256.256/',
    'https://a b/',
  ]),
  ...refused('F64', 'unsupported_scheme', [
    ...['file:///etc/passwd', 'gopher://receiver.example/', 'ftp://receiver.example/', 'data:text/plain,x'],
    ...['javascript:alert(1)', 'unix:/run/docker.sock', 'ws://receiver.example/', 'blob:https://receiver.example/1'],
    ...['http+unix://%2Frun%2Fdocker.sock/', 'dict://127.0.0.1:11211/', 'ldap://127.0.0.1/', 'jar:https://x.example!/'],
  ]),
  ...refused('F64', 'not_a_url', ['//receiver.example/x', '', ' ', 'http://', 'https://', '/hook', 'receiver.example']),
  ...refused(
    'F64',
    'bad_port',
    [0, 1, 21, 22, 23, 25, 53, 110, 143, 389, 445, 1433, 3306, 3389, 5432, 6379, 9042, 11211, 27017, 65536, 99999].map(
      (port) => `https://receiver.example:${port}/`,
    ),
  ),
  ...refused('F55', 'insecure_scheme', ['http://receiver.example/', 'HTTP://8.8.8.8/', 'http://[2606:4700::1]/']),
]

export const VECTORS: readonly Vector[] = [
  ...spelled('F55', IPV4_SPELLINGS, ['127.0.0.1', '10.1.2.3', '169.254.169.254', '192.168.0.1', '0.0.0.0']),
  ...spelled('F56', EMBEDDINGS, ['127.0.0.1', '10.1.2.3', '169.254.169.254', '192.168.255.1', '8.8.8.8']),
  ...spelled('F57', TUNNELS, ['127.0.0.1', '10.1.2.3', '169.254.169.254', '192.168.255.1', '8.8.8.8']),
  ...each('F58', 'a metadata server', METADATA_HOSTS),
  ...each('F59', 'a special address', SPECIAL_HOSTS),
  ...each('F60', 'a private name', PRIVATE_NAMES),
  ...OTHER_TEXTS,
]

/** The addresses behind the URLs above, as a name server would answer with them. */
export const DENIED_ANSWERS: readonly string[] = [
  ...new Set(
    VECTORS.filter(({ fault }) => ['F55', 'F56', 'F57', 'F58', 'F59'].includes(fault))
      .filter(({ code, url }) => code === 'blocked_address' && URL.canParse(url))
      .map(({ url }) => new URL(url).hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, ''))
      .filter((host) => /^[\d.]+$|:/.test(host)),
  ),
]
