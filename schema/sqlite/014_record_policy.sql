-- 014_record_policy: policy `record` of a host says what waits for the record, and no longer only whether there is
-- one.
update policy set value = case value when 'false' then 'off' else 'deliver-after-commit' end
	where name = 'record' and value in ('true', 'false');
