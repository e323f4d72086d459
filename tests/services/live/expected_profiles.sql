-- one form of an address: small letters, and the domain as DNS has it
create macro email_of(x) as case when regexp_matches(trim(x), '^[^@ ]+@[^@ ]+\.[^@ ]+$')
    then replace(lower(trim(x)), '@przykład.pl', '@xn--przykad-rjb.pl') end;
create macro phone_of(x) as case when x is not null then '+48' || right(regexp_replace(x, '[^0-9]', '', 'g'), 9) end;
create macro digit_of(x, i) as cast(substr(x, i, 1) as int);
create macro nip_ok(d) as length(d) = 10 and (6 * digit_of(d, 1) + 5 * digit_of(d, 2) + 7 * digit_of(d, 3) + 2 * digit_of(d, 4)
  + 3 * digit_of(d, 5) + 4 * digit_of(d, 6) + 5 * digit_of(d, 7) + 6 * digit_of(d, 8) + 7 * digit_of(d, 9)) % 11 = digit_of(d, 10);
create macro nip_of(x) as case when nip_ok(regexp_replace(x, '[^0-9]', '', 'g')) then 'PL' || regexp_replace(x, '[^0-9]', '', 'g') end;

-- a guest's order is an account of its own
create table person as
select system, 'customer' as entity, key, email_of(email) as email, email_ok = '1' as email_ok, phone_of(phone) as phone,
  first_name, last_name, company, nip_of(tax_id) as tax_id, nullif(regexp_replace(upper(loyalty_card), '[ -]', '', 'g'), '') as loyalty_card,
  birth_date, language, country, cast(updated_at as timestamp) as updated_at, email_of(email2) as email2 from
  (select * replace (left(updated_at, 26) as updated_at) from (select * replace (replace(updated_at, '+00', '') as updated_at) from customer))
union all
select system, 'guest', key, email_of(email), null, phone_of(phone), first_name, last_name, null, null, null, null, null, country,
  timestamp '9999-01-01', null from sale where owner is null;

create table account as
select distinct system, entity, key from (
  select system, entity, key from person
  union all select system, 'customer', owner from sale where owner is not null
  union all select system, 'customer', owner from invoice where owner is not null
  union all select system, 'customer', owner from consent where owner is not null
  union all select system, 'customer', owner from address where owner is not null
  union all select system, 'customer', owner from visit where owner is not null);

create table link as
select system, entity, key, kind, value from (
  select system, entity, key, 'email' as kind, email as value from person
  union all select system, entity, key, 'email', email2 from person
  union all select system, entity, key, 'phone', phone from person
  union all select system, entity, key, 'tax_id', tax_id from person
  union all select system, entity, key, 'loyalty_card', loyalty_card from person) where value is not null;

create table profile as
with recursive
  named as (select *, system || ' ' || entity || ' ' || key as name from account),
  linked as (select distinct system || ' ' || entity || ' ' || key as name, kind || value as value from link),
  edge as (select distinct a.name as one, b.name as other from linked a join linked b using (value)),
  reach as (select name, name as other from named union select reach.name, edge.other from reach join edge on edge.one = reach.other)
select system, entity, key, profile from named join (select name, min(other) as profile from reach group by name) using (name);

create table ordered as
select p.profile, s.*, cast(s.placed_at as timestamp)::date as day, cast(s.gross as decimal(18,4)) as value
from sale s join profile p on p.system = s.system and p.key = coalesce(s.owner, s.key)
  and p.entity = if(s.owner is null, 'guest', 'customer');
