<?php
// Receives Ringback's webhooks with nothing but PHP 8. Run: WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:3000 receiver.php

declare(strict_types=1);

const TOLERANCE_SECONDS = 5 * 60;
const BODY_BYTES_MAX = 1024 * 1024;

// verify: begin
function verify(string $secret, string $id, string $timestamp, string $signatures, string $body): bool
{
    if ($id === '' || preg_match('/\A[0-9]{1,12}\z/', $timestamp) !== 1) {
        return false;
    }
    if (abs(time() - (int) $timestamp) > TOLERANCE_SECONDS) {
        return false;
    }
    $expected = base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $secret, true));
    foreach (explode(' ', $signatures) as $signature) {
        // v1a, and what may come after it, is passed over
        if (str_starts_with($signature, 'v1,') && hash_equals($expected, substr($signature, 3))) {
            return true;
        }
    }
    return false;
}
// verify: end

// PHP forgets everything between two requests: here a file stands for each event that was taken in. In earnest it is a
// column with a unique index, written in one transaction with the work or with the entry in your queue.
function isNew(string $id): bool
{
    $folder = sys_get_temp_dir() . '/webhooks-seen';
    @mkdir($folder, 0700);
    return @fopen($folder . '/' . hash('sha256', $id), 'x') !== false;
}

function accept(array $event): void
{
    file_put_contents('php://stdout', $event['type'] . ' ' . $event['data']['taskId'] . "\n");
}

function receive(): int
{
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        return 405;
    }
    $body = file_get_contents('php://input', false, null, 0, BODY_BYTES_MAX + 1); // the bytes as they came: never $_POST
    if (strlen($body) > BODY_BYTES_MAX) {
        return 413;
    }
    $secret = base64_decode(preg_replace('/^whsec_/', '', (string) getenv('WEBHOOK_SECRET')), true);
    if ($secret === false || strlen($secret) < 24) {
        error_log('WEBHOOK_SECRET: expected whsec_ and base64, as shown when the endpoint was made');
        return 500;
    }
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? ''; // names come in capitals, whatever they were
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    $signatures = $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '';
    if (!verify($secret, $id, $timestamp, $signatures, $body)) {
        return 400;
    }
    $event = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
    if (isNew($id)) {
        accept($event);
    }
    return 204;
}

http_response_code(receive());
