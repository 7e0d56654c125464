# With systemd, cyrusquota-export.timer does this instead.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
*/5 * * * *  root  [ -d /run/systemd/system ] || [ ! -x /usr/sbin/cyrusquota-export ] || [ ! -e /etc/imapd.conf ] || [ ! -e /var/lib/cyrus/mailboxes.db -a ! -e /var/lib/cyrusquota/overquota ] || cyrusquota-export --settings /etc/cyrusquota.conf
