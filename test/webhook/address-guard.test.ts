/** The guard against callback URLs that lead somewhere else than to a receiver: tables of URLs, addresses and answers. */

import type { LookupAddress } from 'node:dns'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AddressGuard,
  ALLOW_NOTHING,
  type AllowList,
  createAddressGuard,
  parseAllowList,
  type Resolve,
} from '../../src/webhook/address-guard.ts'

function allowing(...entries: string[]): AllowList {
  const read = parseAllowList(entries)
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  return read.allow
}

function guardOf(allow: AllowList = ALLOW_NOTHING, resolve?: Resolve, ownOrigins: string[] = []): AddressGuard {
  return createAddressGuard({ allow, ownOrigins: () => ownOrigins, ...(resolve === undefined ? {} : { resolve }) })
}

function codeOf(guard: AddressGuard, url: string): string {
  const verdict = guard.judgeUrl(url)
  return verdict.isAllowed ? 'allowed' : verdict.code
}

const closed = guardOf()

/** What the URL parser reads as an IPv4 address that is none of the receiver's. */
const SPELLINGS = [
  ...[
    '127.0.0.1',
    '2130706433',
    '0x7f000001',
    '017700000001',
    '127.1',
    '127.0.1',
    '0177.0.0.1',
    '0x7f.1',
    '0',
    '0.0.0.0',
  ],
  ...['①②⑦.⓪.⓪.①', '127。0。0。1', '%31%32%37.0.0.1', '127.0.0.1.', '127\u00ad.0.0.1', '12\t7.0.\n0.1', '0x7F.0X0.0.1'],
  ...['127.255.255.254', '0x7fffffff', '127.0.0.1:8080', '１２７.０.０.１'],
]
const LOOPBACK_IPV6 = [
  ...['[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::ffff:a9fe:a9fe]', '[::127.0.0.1]', '[::7f00:1]'],
  ...[
    '[::ffff:0:127.0.0.1]',
    '[0:0:0:0:0:0:0:1]',
    '[0000:0000:0000:0000:0000:ffff:7f00:0001]',
    '[::ffff:8.8.8.8]',
    '[::8.8.8.8]',
  ],
]
const TUNNELS = [
  ...['[64:ff9b::a9fe:a9fe]', '[64:ff9b::127.0.0.1]', '[64:ff9b::8.8.8.8]', '[64:ff9b:1::a9fe:a9fe]'],
  ...['[64:ff9b:1:a9fe:a9:fe00::]', '[2002:7f00:1::]', '[2002:a9fe:a9fe::1]', '[2002:808:808::1]'],
  ...['[2001:0:4136:e378:8000:63bf:80ff:fffe]', '[2001:0:7f00:1::]', '[2001::1]'],
  ...['[2606:4700::5efe:127.0.0.1]', '[2606:4700::200:5efe:10.0.0.1]', '[fe80::5efe:192.168.0.1]'],
]
const METADATA = [
  ...['169.254.169.254', '[fd00:ec2::254]', '168.63.129.16', '100.100.100.200', '192.0.0.192', '169.254.170.2'],
  ...[
    'metadata.google.internal',
    'METADATA.google.internal.',
    'metadata',
    'metadata.goog',
    'instance-data',
    '2852039166',
  ],
]
const SPECIAL = [
  ...['10.0.0.0', '10.1.2.3', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '192.168.255.255'],
  ...['100.64.0.1', '100.127.255.254', '198.18.0.1', '198.19.255.255', '192.0.2.1', '198.51.100.7', '203.0.113.9'],
  ...[
    '224.0.0.1',
    '239.255.255.250',
    '240.0.0.1',
    '255.255.255.255',
    '169.254.0.1',
    '192.0.0.1',
    '192.88.99.1',
    '0.1.2.3',
  ],
  ...[
    '[fc00::1]',
    '[fdff::1]',
    '[fe80::1]',
    '[febf::1]',
    '[fec0::1]',
    '[feff::1]',
    '[ff02::1]',
    '[100::1]',
    '[5f00::1]',
  ],
  ...[
    '[3fff::1]',
    '[2001:db8::1]',
    '[2001:2::1]',
    '[2001:10::1]',
    '[2001:20::1]',
    '[4000::1]',
    '[8000::1]',
    '[e000::1]',
    '[1::1]',
  ],
]
const PRIVATE_NAMES = [
  ...[
    'localhost',
    'localhost.',
    'foo.localhost',
    'LOCALHOST',
    'a.b.localhost.',
    'ｌocalhost',
    'router.local',
    'db.internal',
  ],
  ...['printer.home.arpa', 'x.onion', 'redis', 'REDIS.', 'kubernetes', '.', '..'],
]
const BLOCKED_HOSTS = [...SPELLINGS, ...LOOPBACK_IPV6, ...TUNNELS, ...METADATA, ...SPECIAL, ...PRIVATE_NAMES]

describe('a URL by its text', () => {
  test.each(BLOCKED_HOSTS)('https://%s is blocked', (host) => {
    expect(codeOf(closed, `https://${host}/hook`)).toBe('blocked_address')
  })

  test.each(BLOCKED_HOSTS)('http://%s is blocked for its host, not for its scheme', (host) => {
    expect(codeOf(closed, `http://${host}/hook`)).toBe('blocked_address')
  })

  test.each([
    ['file:///etc/passwd', 'unsupported_scheme'],
    ['gopher://receiver.example/', 'unsupported_scheme'],
    ['ftp://receiver.example/', 'unsupported_scheme'],
    ['data:text/plain,hi', 'unsupported_scheme'],
    ['javascript:alert(1)', 'unsupported_scheme'],
    ['unix:/run/docker.sock', 'unsupported_scheme'],
    ['http+unix://%2Frun%2Fdocker.sock/', 'unsupported_scheme'],
    ['ws://receiver.example/', 'unsupported_scheme'],
    ['blob:https://receiver.example/1', 'unsupported_scheme'],
    ['localhost:80/x', 'unsupported_scheme'],
    ['//receiver.example/x', 'not_a_url'],
    ['/hook', 'not_a_url'],
    ['receiver.example/hook', 'not_a_url'],
    ['', 'not_a_url'],
    [' ', 'not_a_url'],
    ['http://', 'not_a_url'],
    ['https://', 'not_a_url'],
    ['https://exa mple.com/', 'not_a_url'],
    ['https://receiver.example%00.evil/', 'not_a_url'],
    ['https://[fe80::1%25lo]/', 'not_a_url'],
    ['https://256.256.256.256/', 'not_a_url'],
    ['https://127.0.0.1.5/', 'not_a_url'],
    ['https://receiver.example:port/', 'not_a_url'],
    ['https://receiver.example:0/', 'bad_port'],
    ['https://receiver.example:22/', 'bad_port'],
    ['https://receiver.example:25/', 'bad_port'],
    ['https://receiver.example:79/', 'bad_port'],
    ['https://receiver.example:1023/', 'bad_port'],
    ['https://receiver.example:3306/', 'bad_port'],
    ['https://receiver.example:5432/', 'bad_port'],
    ['https://receiver.example:6379/', 'bad_port'],
    ['https://receiver.example:11211/', 'bad_port'],
    ['https://receiver.example:65536/', 'bad_port'],
    ['https://user:secret@receiver.example:99999/', 'bad_port'],
    ['https://user:pass@receiver.example/', 'userinfo'],
    ['https://user@receiver.example/', 'userinfo'],
    ['https://:pass@receiver.example/', 'userinfo'],
    ['http://a@127.0.0.1/', 'userinfo'],
    ['http://127.0.0.1:80@receiver.example/', 'userinfo'],
    ['http://127.0.0.1#@receiver.example', 'blocked_address'],
    ['http:\\\\127.0.0.1\\', 'blocked_address'],
    ['http:127.0.0.1/', 'blocked_address'],
    ['http:///127.0.0.1/', 'blocked_address'],
    ['https:/\\127.0.0.1', 'blocked_address'],
    ['https://127.0.0.1\\@receiver.example/', 'blocked_address'],
    ['http://receiver.example/', 'insecure_scheme'],
    ['http://receiver.example:443/', 'insecure_scheme'],
    ['http://8.8.8.8/', 'insecure_scheme'],
    ['http://[2606:4700::1111]/', 'insecure_scheme'],
    // A backslash is a slash in an http URL: the host is receiver.example, and the rest a path.
    ['http://receiver.example\\@127.0.0.1/', 'insecure_scheme'],
    [`https://receiver.example/${'a'.repeat(2_048)}`, 'too_long'],
    [`https://${'a'.repeat(3_000)}.example/`, 'too_long'],
    // 700 characters that become 6 300 when they are percent-encoded.
    [`https://receiver.example/${'好'.repeat(700)}`, 'too_long'],
  ])('%s is refused as %s', (url, code) => {
    expect(codeOf(closed, url)).toBe(code)
  })

  test.each([
    ['https://receiver.example/hook', 'https://receiver.example/hook'],
    ['https://receiver.example', 'https://receiver.example/'],
    ['HTTPS://Receiver.EXAMPLE:443/Hook?Key=Value', 'https://receiver.example/Hook?Key=Value'],
    ['  https://receiver.example/\thook\n', 'https://receiver.example/hook'],
    ['https://receiver.example/hook#part', 'https://receiver.example/hook'],
    ['https://receiver.example/hook#', 'https://receiver.example/hook'],
    ['https://receiver.example./hook', 'https://receiver.example./hook'],
    ['https://receiver.example:1024/', 'https://receiver.example:1024/'],
    ['https://receiver.example:8443/', 'https://receiver.example:8443/'],
    ['https://receiver.example:65535/', 'https://receiver.example:65535/'],
    ['https://receiver.example:80/', 'https://receiver.example:80/'],
    ['https://127.0.0.1.receiver.example/', 'https://127.0.0.1.receiver.example/'],
    ['https://localhost.receiver.example/', 'https://localhost.receiver.example/'],
    ['https://receiver.notlocal/', 'https://receiver.notlocal/'],
    ['https://bücher.example/', 'https://xn--bcher-kva.example/'],
    ['https://rec\u00adeiver.example/', 'https://receiver.example/'],
    ['https://еxample.com/', 'https://xn--xample-2of.com/'],
    ['https://@receiver.example/', 'https://receiver.example/'],
    ['https://receiver.example/../a/./b', 'https://receiver.example/a/b'],
    ['https://8.8.8.8/', 'https://8.8.8.8/'],
    ['https://134744072/', 'https://8.8.8.8/'],
    ['https://172.15.255.255/', 'https://172.15.255.255/'],
    ['https://172.32.0.1/', 'https://172.32.0.1/'],
    ['https://100.128.0.1/', 'https://100.128.0.1/'],
    ['https://[2606:4700:4700::1111]/', 'https://[2606:4700:4700::1111]/'],
    ['https://[2A00:1450::1]:8443/', 'https://[2a00:1450::1]:8443/'],
  ])('%s is allowed and stored as %s', (url, stored) => {
    expect(closed.judgeUrl(url)).toEqual({ isAllowed: true, url: stored })
  })

  test('messages name the value and the remedy, and never a password or a query', () => {
    const urls = [
      'https://zaphod:hunter2@receiver.example/?token=hunter2',
      'https://zaphod:hunter2@receiver.example:99999/?token=hunter2',
      'https://10.1.2.3/?token=hunter2',
      'http://receiver.example/?token=hunter2',
      'https://redis/?token=hunter2',
      'https://receiver.example:22/?token=hunter2',
      `https://receiver.example/?token=hunter2${'a'.repeat(3_000)}`,
      'hunter2',
    ]
    const messages = urls.map((url) => JSON.stringify(closed.judgeUrl(url)))
    for (const message of messages) expect(message).not.toMatch(/hunter2|zaphod/)
    expect(messages[2]).toContain('10.1.2.3 is not public (private). Set RINGBACK_CALLBACK_ALLOW=10.0.0.0/8')
    expect(messages[3]).toContain('RINGBACK_CALLBACK_ALLOW=receiver.example')
    expect(messages[4]).toContain('RINGBACK_CALLBACK_ALLOW=redis')
    expect(messages[5]).toContain('22')
  })

  test('the remedy that a message names is one that works', () => {
    for (const host of [
      '127.0.0.1',
      '10.1.2.3',
      '[fd12::1]',
      '[::1]',
      '198.18.0.1',
      'localhost',
      'redis',
      '169.254.169.254',
    ]) {
      const verdict = closed.judgeUrl(`https://${host}/`)
      const remedy = verdict.isAllowed ? null : /RINGBACK_CALLBACK_ALLOW=(\S+)/.exec(verdict.message)?.[1]
      expect(codeOf(guardOf(allowing(...remedy!.split(','))), `http://${host}/`)).toBe('allowed')
    }
  })
})

describe('every spelling of an IPv4 address', () => {
  const spellings: ((octets: readonly number[]) => string)[] = [
    (o) => o.join('.'),
    (o) => `${o.join('.')}.`,
    (o) => String(numberOf(o)),
    (o) => `0x${numberOf(o).toString(16)}`,
    (o) => `0${numberOf(o).toString(8)}`,
    (o) => o.map((octet) => `0x${octet.toString(16)}`).join('.'),
    (o) => o.map((octet) => `0${octet.toString(8)}`).join('.'),
    (o) => `${o[0]}.${numberOf([0, ...o.slice(1)])}`,
    (o) => `${o[0]}.${o[1]}.${numberOf([0, 0, ...o.slice(2)])}`,
    (o) => o.join('。'),
    (o) => o.join('.').replace(/\d/g, (digit) => `%3${digit}`),
    (o) => o.join('.').replace(/\d/g, (digit) => String.fromCodePoint(0xff10 + Number(digit))),
  ]
  const octet = fc.integer({ min: 0, max: 255 })
  const privateAddress = fc.oneof(
    fc.tuple(fc.constantFrom(0, 10, 127, 224, 239, 240, 255), octet, octet, octet),
    fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), octet, octet),
    fc.tuple(fc.constant(192), fc.constant(168), octet, octet),
    fc.tuple(fc.constant(169), fc.constant(254), octet, octet),
    fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), octet, octet),
  )
  const numberOf = (octets: readonly number[]) => octets.reduce((sum, part) => sum * 256 + part, 0)

  test('of a private range is blocked, bare or inside an IPv6 address', () => {
    const embeddings = [
      (hex: string) => `[::ffff:${hex}]`,
      (hex: string) => `[::${hex}]`,
      (hex: string) => `[::ffff:0:${hex}]`,
      (hex: string) => `[64:ff9b::${hex}]`,
      (hex: string) => `[64:ff9b:1::${hex}]`,
      (hex: string) => `[2002:${hex}::1]`,
    ]
    fc.assert(
      fc.property(privateAddress, (octets) => {
        const hex = `${((octets[0] << 8) | octets[1]).toString(16)}:${((octets[2] << 8) | octets[3]).toString(16)}`
        const hosts = [...spellings.map((spell) => spell(octets)), ...embeddings.map((embed) => embed(hex))]
        for (const host of hosts) expect([host, codeOf(closed, `https://${host}/`)]).toEqual([host, 'blocked_address'])
      }),
    )
  })

  test('of any address has the verdict of the plain one', () => {
    fc.assert(
      fc.property(fc.tuple(octet, octet, octet, octet), (octets) => {
        const codes = spellings.map((spell) => codeOf(closed, `https://${spell(octets)}/`))
        expect(new Set(codes)).toEqual(new Set([codeOf(closed, `https://${octets.join('.')}/`)]))
      }),
    )
  })

  test('no text makes the judgement throw', () => {
    const urlLike = fc.tuple(fc.constantFrom('http://', 'https:', 'https://[', '//', ''), fc.string({ unit: 'binary' }))
    fc.assert(
      fc.property(urlLike, ([start, rest]) => void closed.judgeUrl(start + rest)),
      { numRuns: 1_000 },
    )
  })
})

describe('the allow list', () => {
  test.each([
    [['127.0.0.0/8'], 'http://127.0.0.1:8080/', 'allowed'],
    [['127.0.0.0/8'], 'http://2130706433/', 'allowed'],
    [['127.0.0.0/8'], 'http://localhost:3000/', 'allowed'],
    [['127.0.0.1'], 'http://localhost./', 'allowed'],
    [['::1'], 'http://localhost/', 'allowed'],
    [['[::1]'], 'http://[::1]:8080/', 'allowed'],
    [['localhost'], 'http://LOCALHOST/', 'allowed'],
    [['localhost'], 'http://127.0.0.1/', 'blocked_address'],
    [['127.0.0.0/8'], 'http://foo.localhost/', 'blocked_address'],
    [['127.0.0.0/8'], 'http://[::1]/', 'blocked_address'],
    [['127.0.0.0/8'], 'http://[::ffff:127.0.0.1]/', 'blocked_address'],
    [['127.0.0.0/8'], 'http://10.0.0.1/', 'blocked_address'],
    [['127.0.0.0/8'], 'http://127.0.0.1:22/', 'bad_port'],
    [['127.0.0.0/8'], 'ftp://127.0.0.1/', 'unsupported_scheme'],
    [['127.0.0.0/8'], 'http://a:b@127.0.0.1/', 'userinfo'],
    [['127.0.0.0/8'], 'http://receiver.example/', 'insecure_scheme'],
    [['10.0.0.0/8', 'fd00::/8'], 'https://10.9.8.7/', 'allowed'],
    [['10.0.0.0/8', 'fd00::/8'], 'https://[fd12::1]/', 'allowed'],
    [['10.0.0.0/8'], 'https://11.0.0.1/', 'allowed'],
    [['receiver.test'], 'http://receiver.test/', 'allowed'],
    [['Receiver.TEST.'], 'http://receiver.test./', 'allowed'],
    [['receiver.test'], 'http://other.receiver.test/', 'insecure_scheme'],
    [['bücher.example'], 'http://xn--bcher-kva.example/', 'allowed'],
    [['redis'], 'https://redis/', 'allowed'],
    [['db.internal'], 'https://db.internal/', 'allowed'],
    [['8.8.8.8'], 'http://8.8.8.8/', 'allowed'],
    [['127.1'], 'http://127.0.0.1/', 'allowed'],
    [['169.254.0.0/16', '0.0.0.0/0', '::/0'], 'http://169.254.169.254/', 'blocked_address'],
    [['fd00::/8', '::/0'], 'http://[fd00:ec2::254]/', 'blocked_address'],
    [['0.0.0.0/0'], 'http://168.63.129.16/', 'blocked_address'],
    [['0.0.0.0/0'], 'http://100.100.100.200/', 'blocked_address'],
    [['0.0.0.0/0'], 'http://192.0.0.192/', 'blocked_address'],
    [['169.254.0.0/16', '0.0.0.0/0', '::/0'], 'http://metadata.google.internal/', 'blocked_address'],
    [['169.254.169.254'], 'http://169.254.169.254/', 'allowed'],
    [['169.254.169.254/32'], 'http://169.254.169.254/', 'allowed'],
    [['169.254.169.254/31'], 'http://169.254.169.254/', 'blocked_address'],
    [['metadata.google.internal'], 'http://metadata.google.internal/', 'allowed'],
    [['::/0'], 'https://[64:ff9b::808:808]/', 'blocked_address'],
    [['::/0'], 'https://[::127.0.0.1]/', 'blocked_address'],
    [['::/0'], 'https://[2606:4700::5efe:127.0.0.1]/', 'blocked_address'],
    [['::/0'], 'https://[2002:808:808::1]/', 'blocked_address'],
  ])('%j decides on %s: %s', (entries, url, code) => {
    expect(codeOf(guardOf(allowing(...entries)), url)).toBe(code)
  })

  test('blanks around entries and empty entries are of no account', () => {
    expect(codeOf(guardOf(allowing(' 127.0.0.0/8 ', '')), 'http://127.0.0.1/')).toBe('allowed')
  })

  test('every entry that cannot be read is reported, with what was expected', () => {
    const unreadable = [
      ...['10.0.0.0/33', '10.0.0.0/', 'receiver.test/8', 'http://receiver.test', 'receiver.test:8080', '[::1]:80'],
      ...[
        '*.receiver.test',
        'a b',
        'user@receiver.test',
        '::1%lo',
        '::ffff:10.0.0.1',
        '64:ff9b::/96',
        '2002::/16',
        '.',
      ],
    ]
    const read = parseAllowList(['127.0.0.1', ...unreadable])
    expect('problems' in read ? read.problems : []).toHaveLength(unreadable.length)
    for (const [index, entry] of unreadable.entries()) {
      expect('problems' in read && read.problems[index]).toContain(`"${entry}"`)
    }
  })
})

describe('our own addresses', () => {
  const own = guardOf(allowing('127.0.0.0/8', '::1', 'localhost', 'ringback.test', '0.0.0.0'), undefined, [
    'http://127.0.0.1:7464',
    'https://ringback.test',
    'not a URL',
  ])

  test.each([
    'http://127.0.0.1:7464/v1/tasks',
    'https://127.0.0.1:7464/',
    'http://localhost:7464/',
    'http://127.9.9.9:7464/',
    'http://[::1]:7464/',
    'http://0.0.0.0:7464/',
    'https://ringback.test/hook',
    'https://RINGBACK.test.:443/hook',
  ])('%s is a loop although the host is allowed', (url) => {
    expect(codeOf(own, url)).toBe('loop')
  })

  test.each(['http://127.0.0.1:7465/', 'http://ringback.test:7464/', 'https://receiver.example:7464/'])(
    '%s is no loop',
    (url) => {
      expect(codeOf(own, url)).toBe('allowed')
    },
  )

  test('are those of the moment, also for a URL that has been judged before', () => {
    const origins: string[] = []
    const addresses: string[] = []
    const guard = createAddressGuard({
      allow: ALLOW_NOTHING,
      ownOrigins: () => origins,
      ownAddresses: () => addresses,
    })
    const code = () => codeOf(guard, 'https://93.184.215.14:8443/')
    expect([code(), code()]).toEqual(['allowed', 'allowed'])
    addresses.push('93.184.215.14')
    expect(code()).toBe('blocked_address')
    origins.push('http://0.0.0.0:8443')
    expect(code()).toBe('loop')
    origins.pop()
    addresses.pop()
    expect(code()).toBe('allowed')
  })
})

describe('the addresses of a name', () => {
  const answering = (...addresses: string[]): Resolve => {
    return (_hostname, done) => done(null, addresses.map(answerOf))
  }
  const answerOf = (address: string): LookupAddress => ({ address, family: address.includes(':') ? 6 : 4 })

  function lookUp(guard: AddressGuard, hostname: string): Promise<string[] | string> {
    return new Promise((resolve) => {
      guard.lookupFor(443)(hostname, { all: true }, (error, answer) => {
        if (error !== null) resolve(error.code ?? 'no code')
        else resolve(typeof answer === 'string' ? [answer] : answer.map(({ address }) => address))
      })
    })
  }

  test('are handed on exactly as they were judged', async () => {
    const guard = guardOf(ALLOW_NOTHING, answering('8.8.8.8', '2606:4700::1'))
    expect(await lookUp(guard, 'receiver.example')).toEqual(['8.8.8.8', '2606:4700::1'])
  })

  test('can be asked for one at a time', async () => {
    const guard = guardOf(ALLOW_NOTHING, answering('2606:4700::1', '8.8.8.8'))
    const one = await new Promise((resolve) => {
      guard.lookupFor(443)('receiver.example', {}, (error, address, family) => resolve([error, address, family]))
    })
    expect(one).toEqual([null, '2606:4700::1', 6])
  })

  test.each([
    [['127.0.0.1']],
    [['8.8.8.8', '127.0.0.1']],
    [['8.8.8.8', '8.8.4.4', '::1']],
    [['169.254.169.254']],
    [['168.63.129.16']],
    [['64:ff9b::808:808']],
    [['::ffff:8.8.8.8']],
    [['fe80::1%eth0']],
    [['fd00:ec2::254%eth0']],
    [['not an address']],
    [[...Array.from({ length: 40 }, (_, index) => `8.8.8.${index}`), '10.0.0.1']],
  ])('%j are blocked, one bad one is enough', async (addresses) => {
    expect(await lookUp(guardOf(ALLOW_NOTHING, answering(...addresses)), 'receiver.example')).toBe(
      'ERR_BLOCKED_ADDRESS',
    )
  })

  test('are at most sixteen', async () => {
    const hundred = Array.from({ length: 100 }, (_, index) => `8.8.8.${index}`)
    expect(await lookUp(guardOf(ALLOW_NOTHING, answering(...hundred)), 'receiver.example')).toHaveLength(16)
  })

  test('are opened by the name or by their block', async () => {
    const answers = answering('10.0.0.1', '192.168.0.1')
    expect(await lookUp(guardOf(allowing('receiver.test'), answers), 'receiver.test')).toHaveLength(2)
    expect(await lookUp(guardOf(allowing('10.0.0.0/8', '192.168.0.0/16'), answers), 'receiver.test')).toHaveLength(2)
    expect(await lookUp(guardOf(allowing('10.0.0.0/8'), answers), 'receiver.test')).toBe('ERR_BLOCKED_ADDRESS')
  })

  test('that are cloud metadata are not opened by a listed name, but by the name of the metadata server', async () => {
    const answers = answering('169.254.169.254')
    expect(await lookUp(guardOf(allowing('receiver.test'), answers), 'receiver.test')).toBe('ERR_BLOCKED_ADDRESS')
    const listed = guardOf(allowing('metadata.google.internal'), answers)
    expect(await lookUp(listed, 'metadata.google.internal')).toEqual(['169.254.169.254'])
  })

  test('of localhost may contain one that was not opened', async () => {
    const answers = answering('::1', '127.0.0.1')
    expect(await lookUp(guardOf(allowing('127.0.0.0/8'), answers), 'localhost')).toEqual(['127.0.0.1'])
    expect(await lookUp(guardOf(ALLOW_NOTHING, answers), 'localhost')).toBe('ERR_BLOCKED_ADDRESS')
    expect(await lookUp(guardOf(allowing('127.0.0.0/8'), answers), 'receiver.example')).toBe('ERR_BLOCKED_ADDRESS')
  })

  test('that do not exist, or could not be asked for, are an error of the resolver', async () => {
    expect(await lookUp(guardOf(ALLOW_NOTHING, answering()), 'receiver.example')).toBe('ENOTFOUND')
    const failing: Resolve = (_hostname, done) => done(Object.assign(new Error('no'), { code: 'EAI_AGAIN' }), [])
    expect(await lookUp(guardOf(ALLOW_NOTHING, failing), 'receiver.example')).toBe('EAI_AGAIN')
  })

  test('are asked for once while the question is open, and again afterwards', async () => {
    const questions: (() => void)[] = []
    const guard = guardOf(ALLOW_NOTHING, (_hostname, done) => questions.push(() => done(null, [answerOf('8.8.8.8')])))
    const both = Promise.all([lookUp(guard, 'receiver.example'), lookUp(guard, 'receiver.example')])
    expect(questions).toHaveLength(1)
    questions[0]!()
    expect(await both).toEqual([['8.8.8.8'], ['8.8.8.8']])
    const again = lookUp(guard, 'receiver.example')
    expect(questions).toHaveLength(2)
    questions[1]!()
    await again
  })

  test('come from the resolver of the system when none is given', async () => {
    expect(await lookUp(guardOf(allowing('127.0.0.0/8', '::1')), 'localhost')).toContain('127.0.0.1')
  })
})
